"""Text of strangers: whether there is any, and fit for one line of a terminal, a page or a tokenizer."""

import re
import unicodedata

# Controls, halves of characters, and what turns the direction of the text around it. Joiners stay: emoji and several
# scripts are written with them.
UNFIT = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ud800-\udfff\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})  # categories of Unicode: controls, formats, separators
# A line break and a tab move nothing backwards. The joiners belong to Persian and to emoji, and turn nothing round.
HARMLESS = frozenset("\n\t\u200c\u200d")
FILLERS = {"\u115f", "\u1160", "\u2800"}  # letters and symbols by category that draw nothing


def one_line(text: str) -> str:
    """Without line breaks, doubled spaces, control characters and broken Unicode."""
    return " ".join(UNFIT.sub("", text).split())


def is_blank(text: str) -> bool:
    """Whether nothing of it would show: spaces of every kind, zero-width and format characters."""
    return all(unicodedata.category(c) in {*UNSEEN, "Zs"} or c in FILLERS for c in unicodedata.normalize("NFKC", text))


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
