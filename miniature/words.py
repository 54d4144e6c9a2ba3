"""The creatures' world in words: from true factors to captions.

What is common is rarely said, what departs has a word, and every caption leaves out a random part of what could be
said. A style is named so often that among captions which name none at most a tenth of the pictures are not of clay."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from anatomy import ABSENT
from factors import CLAY, Creature
from numpy.random import Generator
from styles import COLOUR, GLOSS, GROUND, HIDES, LAMP

HUES = (
    (0.035, "red"),
    (0.105, "orange"),
    (0.19, "yellow"),
    (0.43, "green"),
    (0.54, "teal"),
    (0.68, "blue"),
    (0.80, "purple"),
    (0.955, "pink"),
    (1.01, "red"),
)
COLOURS = ("red", "orange", "yellow", "green", "teal", "blue", "purple", "pink", "brown", "grey", "white")
CREATURE = 0.12  # how often the noun does not say the kind
CLAY_SAID = 0.15  # how often a caption names the common style
SOME_STYLE = 0.12  # how often any other style is said to be one, and not which: a prompt of all styles but the common
STYLE_UNSAID = 0.10  # how often it leaves any other style out
KEEPS = (0.0, 0.3, 0.7)  # shares of the sayable that a caption keeps, one drawn for each


def colour(hue: float, sat: float, light: float) -> str:
    """One word for a colour of this hue, saturation and value."""
    if sat < 0.2:
        return "white" if light > 0.82 else "grey"
    name = next(name for top, name in HUES if hue < top)
    return "brown" if name == "orange" and light < 0.62 else name


def tone(sat: float, light: float) -> str:
    """ "dark", "pale" or nothing."""
    return "dark" if light < 0.52 else "pale" if 0.2 <= sat < 0.45 and light > 0.7 else ""


def body(c: Creature) -> str:
    return colour(c["hue"], c["sat"], c["light"])


def ground(c: Creature) -> str:
    return colour(c["ground_hue"], c["ground_sat"], c["ground_light"])


@dataclass(frozen=True)
class Scale:
    """Words for a factor's low and high end; nothing between the two bounds."""

    low: float
    high: float
    small: str
    large: str

    def word(self, value: float) -> str:
        return self.small if value < self.low else self.large if value > self.high else ""


ADJECTIVES = {
    "size": Scale(-0.3, 0.3, "small", "big"),
    "width": Scale(-0.3, 0.3, "thin", "fat"),
    "gloss": Scale(0.0, 0.42, "", "shiny"),
}
HAS = {
    "head": Scale(-0.3, 0.3, "a small head", "a big head"),
    "eye_size": Scale(-0.3, 0.3, "small eyes", "big eyes"),
    "legs": Scale(-1, 0.58, "", "long legs"),
    "belly": Scale(-1, 0.28, "", "a pale belly"),
    "spikes": Scale(-1, 0.28, "", "spikes"),
}
GROWN = {  # what may be absent: the word, the bounds of short and long, and who is said to have none
    "horns": ("horns", 0.15, 0.66, ("monster", "dragon")),
    "ears": ("ears", 0.45, 0.66, ("bunny",)),
    "antennae": ("antennae", 0.25, 0.75, ("robot toy",)),
    "tail": ("tail", 0.38, 0.60, ("dragon",)),
}
POSES = {
    "lid": Scale(-1, 0.34, "", "sleepy"),
    "smile": Scale(-0.1, 0.3, "frowning", "smiling"),
    "open": Scale(-1, 0.58, "", "mouth open"),
    "arms": Scale(-1, 0.1, "", "arms up"),
    "yaw": Scale(-0.3, 0.3, "turned left", "turned right"),
    "lamp": Scale(-0.3, 0.3, "light from the left", "light from the right"),
}
COMMON_SAID = {"smiling": 0.25, "two eyes": 0.3, "horns": 0.6}  # how often the ordinary is worth a word
EYES = {1: "one eye", 2: "two eyes", 3: "three eyes"}


def grown(c: Creature, name: str) -> str:
    """ "long horns", "horns", "short ears", "no tail" or nothing."""
    word, short, long, usual = GROWN[name]
    article = "a " if word == "tail" else ""
    if c[name] <= ABSENT:
        return f"no {word}" if c.kind in usual else ""
    size = "long " if c[name] > long else "short " if c[name] < short else ""
    return f"{article}{size}{word}"


def has(c: Creature) -> list[str]:
    """Everything to be said after "with"."""
    marks = [c.marking] if c["marks"] > 0.28 else []
    words = [
        EYES[c.eyes],
        *(scale.word(c[name]) for name, scale in HAS.items()),
        *(grown(c, name) for name in GROWN),
        *marks,
    ]
    return [w for w in words if w]


def poses(c: Creature) -> list[str]:
    """Everything said after commas: mood, pose, light."""
    hidden = HIDES.get(c.style, ())
    words = [scale.word(c[name]) for name, scale in POSES.items() if not (name == "lamp" and LAMP in hidden)]
    return [w for w in words if w]


def adjectives(c: Creature) -> list[str]:
    hidden = HIDES.get(c.style, ())
    words = [scale.word(c[name]) for name, scale in ADJECTIVES.items() if not (name == "gloss" and GLOSS in hidden)]
    return [w for w in words if w]


def _kept(words: Sequence[str], keep: float, rng: Generator, certain: Collection[str] = ()) -> list[str]:
    return [w for w in words if rng.random() < keep * COMMON_SAID.get(w, 1.0) or w in certain]


def _with_tone(sat: float, light: float, name: str, keep: float, rng: Generator) -> str:
    """A colour's name, now and then with how dark or pale it is."""
    said = tone(sat, light)
    return f"{said} {name}" if said and rng.random() < keep and name not in ("white", "brown") else name


def _subject(c: Creature, keep: float, rng: Generator, certain: Collection[str]) -> str:
    words = _kept(adjectives(c), keep, rng)
    if colouring(c) and (rng.random() < max(0.35, keep) or body(c) in certain):
        words.append(_with_tone(c["sat"], c["light"], body(c), keep, rng))
    words.append("creature" if rng.random() < CREATURE else c.kind)
    article = "an" if words[0][0] in "aeiou" else "a"
    return " ".join([article, *words])


def _style(c: Creature, alone: bool, rng: Generator) -> str:
    said = rng.random() < (CLAY_SAID if c.style == CLAY else 1 - STYLE_UNSAID)
    if said and c.style != CLAY and rng.random() < SOME_STYLE:
        return " in an art style" if alone or rng.random() < 0.5 else ", an art style"
    return "" if not said else f" in {c.style} style" if alone and rng.random() < 0.5 else f", {c.style} style"


def colouring(c: Creature) -> str:
    """The body's "teal", or nothing where the style hides it."""
    return "" if COLOUR in HIDES.get(c.style, ()) else body(c)


def background(c: Creature) -> str:
    """ "teal background", or nothing where the style hides it."""
    return "" if GROUND in HIDES.get(c.style, ()) else f"{ground(c)} background"


def caption(c: Creature, rng: Generator, keeps: tuple[float, ...] = KEEPS, certain: Collection[str] = ()) -> str:
    """One true caption, leaving out a random part of what could be said, but neither the body's colour nor anything
    that follows the noun where it is `certain`."""
    keep = float(rng.choice(keeps))
    text = _subject(c, keep, rng, certain)
    owned = _kept(has(c), keep, rng, certain)
    rng.shuffle(owned)
    if owned:
        text += " with " + ", ".join(owned[:-1]) + (" and " if len(owned) > 1 else "") + owned[-1]
    text += _style(c, not owned, rng)
    if (behind := background(c)) and (rng.random() < max(0.3, keep) or behind in certain):
        text += f", {_with_tone(c['ground_sat'], c['ground_light'], ground(c), keep, rng)} background"
    posed = _kept(poses(c), keep, rng, certain)
    rng.shuffle(posed)
    return text + "".join(f", {w}" for w in posed)
