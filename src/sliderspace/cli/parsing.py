"""From what is typed to values: seeds, strengths, lists of steps. Each raises BadInput that says what was expected."""

from sliderspace.core.errors import BadInput


def embed(text: str) -> str | list[int]:
    """Which steps to embed: a word, or "3,5,7" -> [3, 5, 7]."""
    if text in ("all", "final"):
        return text
    steps = [part.strip() for part in text.split(",")]
    if not all(step.isdecimal() for step in steps):
        raise BadInput(f"--embed: '{text}' is neither all, final, nor a list of steps such as 3,5,7")
    return [int(step) for step in steps]


def number(text: str, option: str) -> float:
    """A number, or BadInput that names the option."""
    try:
        return float(text)
    except ValueError:
        raise BadInput(f"{option}: '{text}' is not a number") from None


MOST_SEEDS = 100_000  # at once; more is a typing error, or a case for several calls


def seeds(text: str, option: str = "--seeds") -> list[int]:
    """The text 0-3,17 -> [0, 1, 2, 3, 17]."""
    out: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or (dash and int(last) < int(first)):
            raise BadInput(f"{option}: '{part}' is neither a number nor a range such as 0-15")
        if len(out) + int(last or first) - int(first) >= MOST_SEEDS:
            raise BadInput(f"{option}: '{text}' are more than {MOST_SEEDS} numbers")
        out += range(int(first), int(last or first) + 1)
    return out


def strengths(pairs: list[str]) -> dict[int, float]:
    """["3=1.5"] -> {3: 1.5}."""
    out: dict[int, float] = {}
    for pair in pairs:
        slider, equals, value = pair.partition("=")
        if not equals or not slider.strip().isdecimal():
            raise BadInput(f"--set: '{pair}' should be SLIDER=UNITS, for example --set 3=1.5")
        out[int(slider)] = number(value, "--set")
    return out
