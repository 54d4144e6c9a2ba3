"""Whole numbers as people type them: 0-3,17."""

from sliderspace.core.errors import BadInput

MOST_NUMBERS = 100_000  # at once; more is a typing error, or a case for several calls


def whole_numbers(text: str, name: str, most: int = MOST_NUMBERS) -> list[int]:
    """The text 0-3,17 -> [0, 1, 2, 3, 17]. BadInput, which names the field, for what is no list of `most` numbers."""
    out: list[int] = []
    for part in text.split(","):
        first, dash, last = (piece.strip() for piece in part.partition("-"))
        if not _is_number(first) or (dash and not _is_number(last)) or (dash and int(last) < int(first)):
            raise BadInput(f"{name}: '{part[:40]}' is neither a number nor a range such as 0-15")
        if len(out) + int(last or first) - int(first) >= most:
            raise BadInput(f"{name}: '{text[:40]}' are more than {most} numbers")
        out += range(int(first), int(last or first) + 1)
    return out


def _is_number(text: str) -> bool:
    return text.isdecimal() and len(text) < 20  # Python refuses to read numbers of thousands of digits
