"""Text of people, prompts and names -> text that is safe to show, and names of folders."""

import re
import unicodedata
from collections.abc import Sequence

JOINERS = "\u200c\u200d"  # hold emoji and Persian words together; they show nothing and turn nothing
UNSEEN = {"Cc", "Cf", "Cs", "Zs", "Zl", "Zp"}  # categories of Unicode that leave no mark
UNSAFE = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def shown(text: str) -> str:
    """The text in one line, with control and direction-changing characters as visible escapes."""
    return "".join(c.encode("unicode_escape").decode() if is_unsafe(c) else c for c in text)


def is_unsafe(character: str) -> bool:
    """Whether a terminal or a page could take the character for a command."""
    return unicodedata.category(character) in UNSAFE and character not in JOINERS


def is_blank(text: str) -> bool:
    """Whether nothing of the text can be seen: spaces, of no width too, and control characters."""
    return all(unicodedata.category(c) in UNSEEN for c in text)


def slug(text: str, most: int = 60) -> str:
    """The text as part of a file name: letters and digits of any language, with hyphens between."""
    return re.sub(r"[\W_]+", "-", text.casefold())[:most].strip("-")


def folder_name(prompts: Sequence[str]) -> str:
    """The name of the folder of a discovery that names none: `a-robot`, or `a-robot-and-2-more` of three prompts."""
    first = slug(prompts[0]) or "prompt"
    return first if len(prompts) == 1 else f"{first}-and-{len(prompts) - 1}-more"
