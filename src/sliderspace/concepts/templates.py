"""A concept -> many prompts of it, from a list of words: medium, light, view and mood."""

import math

from sliderspace.core.errors import BadInput
from sliderspace.core.text import is_blank

COUNT = 50

# One word of each list follows the concept; the first is none at all. The lengths (11, 13, 9, 7, 8, 5) have no common
# factor, so taking word i mod length from each uses all words of a list equally often and repeats itself only after the
# product of the lengths.
WORDS: tuple[tuple[str, ...], ...] = (
    (
        "",
        "oil painting",
        "photograph",
        "pencil sketch",
        "3D render",
        "ink wash painting",
        "flat vector illustration",
        "paper collage",
        "pixel art",
        "clay sculpture",
        "woodcut print",
    ),
    (
        "",
        "in a forest",
        "on a city street",
        "at the seaside",
        "in a bright studio",
        "in the desert",
        "in a small crowded room",
        "in the mountains",
        "in a garden",
        "underwater",
        "in the snow",
        "in an old library",
        "in front of a plain wall",
    ),
    (
        "",
        "soft morning light",
        "hard midday sun",
        "golden hour",
        "candlelight",
        "neon light",
        "overcast sky",
        "moonlight",
        "backlit",
    ),
    ("", "close-up", "full view", "seen from above", "seen from the side", "seen from below", "seen from far away"),
    (
        "",
        "cheerful mood",
        "calm mood",
        "dramatic mood",
        "melancholic mood",
        "playful mood",
        "mysterious mood",
        "dreamlike mood",
    ),
    ("", "symmetrical composition", "diagonal composition", "crowded frame", "wide empty space"),
)
COMBINATIONS = math.prod(map(len, WORDS))


def expand_templates(concept: str, count: int = COUNT) -> tuple[str, ...]:
    """`count` different prompts, always the same: the concept word for word, then words for medium, setting, light,
    viewpoint and so on.

    The first is the concept alone. BadInput for an empty concept, or a count outside 1 … COMBINATIONS.
    """
    concept = checked_concept(concept)
    if not 1 <= count <= COMBINATIONS:
        raise BadInput(f"templates give 1 to {COMBINATIONS} prompts, not {count}")
    joint = " " if concept[-1] in ".,;:!?" else ", "
    extras = (", ".join(word for words in WORDS if (word := words[i % len(words)])) for i in range(count))
    return tuple(f"{concept}{joint}{extra}" if extra else concept for extra in extras)


def checked_concept(text: str) -> str:
    if is_blank(text):
        raise BadInput("the concept is empty: say what to draw, for example “a portrait of a person”")
    return text.strip()
