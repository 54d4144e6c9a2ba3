"""Text of strangers: whether there is any, made fit for one line, a page or a terminal; names of folders."""

import re
import unicodedata
from collections.abc import Sequence

# A line break and a tab move nothing backwards. The joiners belong to Persian and to emoji, and turn nothing round.
HARMLESS = frozenset("\n\t\u200c\u200d")
# Control, format (direction marks among them), lone halves of a pair, and separators that terminals do not agree on.
UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Controls, halves of characters, and what turns the direction of the text around it.
UNFIT = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ud800-\udfff\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
FILLERS = frozenset({"\u115f", "\u1160", "\u2800"})  # letters and symbols by category that draw nothing


def one_line(text: str) -> str:
    """Without line breaks, doubled spaces, control characters and broken Unicode."""
    return " ".join(UNFIT.sub("", text).split())


def shown(text: str) -> str:
    """Text -> the same with a visible mark for each character that cannot be seen but acts on what is around it.

    ESC and its like command a terminal, U+202E turns a line round on a terminal and on a page; they become ␛ and
    ⟨U+202E⟩.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c in HARMLESS or unicodedata.category(c) not in UNSEEN else _mark(c) for c in text)


def _mark(character: str) -> str:
    """The control pictures of Unicode where there is one, else the number."""
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    return "␡" if code == 0x7F else f"⟨U+{code:04X}⟩"


def is_unsafe(character: str) -> bool:
    """Whether a terminal or a page could take the character for a command."""
    return shown(character) != character


def is_broken(text: str) -> bool:
    """Whether it holds bytes that were no UTF-8, as a terminal of another encoding types them; no model reads those."""
    return any("\ud800" <= c <= "\udfff" for c in text)


def is_blank(text: str) -> bool:
    """Whether nothing of the text can be seen: spaces, of no width too, control and format characters."""
    return all(unicodedata.category(c) in {*UNSEEN, "Zs"} or c in FILLERS for c in unicodedata.normalize("NFKC", text))


def slug(text: str, most: int = 60) -> str:
    """The text as part of a file name: letters and digits of any language, with hyphens between."""
    return re.sub(r"[\W_]+", "-", text.casefold())[:most].strip("-")


def folder_name(prompts: Sequence[str]) -> str:
    """The name of the folder of a discovery that names none: `a-robot`, or `a-robot-and-2-more` of three prompts."""
    first = slug(prompts[0]) or "prompt"
    return first if len(prompts) == 1 else f"{first}-and-{len(prompts) - 1}-more"
