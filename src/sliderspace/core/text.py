"""Text of strangers: whether there is any, and fit for one line of a terminal, a page or a tokenizer."""

import re
import unicodedata

# Controls, halves of characters, and what turns the direction of the text around it. Joiners stay: emoji and several
# scripts are written with them.
UNFIT = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ud800-\udfff\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
UNSEEN = {"Cc", "Cf", "Cs", "Zs", "Zl", "Zp"}  # categories of Unicode
FILLERS = {"\u115f", "\u1160", "\u2800"}  # letters and symbols by category that draw nothing


def one_line(text: str) -> str:
    """Without line breaks, doubled spaces, control characters and broken Unicode."""
    return " ".join(UNFIT.sub("", text).split())


def is_blank(text: str) -> bool:
    """Whether nothing of it would show: spaces of every kind, zero-width and format characters."""
    return all(unicodedata.category(c) in UNSEEN or c in FILLERS for c in unicodedata.normalize("NFKC", text))
