"""Names without any service: the phrases of a vocabulary that a CLIP finds most of at either end of a slider."""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np

from sliderspace.core.arrays import Array
from sliderspace.core.errors import BadInput
from sliderspace.core.settings import Settings
from sliderspace.core.text import is_blank, one_line
from sliderspace.label.clip import Clip
from sliderspace.label.directions import FAR_LEVEL, LEVEL, Moves
from sliderspace.models.backbones import PRESETS
from sliderspace.space.labels import Checks, Label

BY = "vocabulary"
LEAST, MOST = 3, 5_000  # phrases: each is compared with the mean of all
OPEN = "…"  # stands in a name for an end that has no name of its own


def read_words(path: Path | None = None) -> tuple[str, ...]:
    """The phrases of a file, a line each, `#` begins a comment; without a file those that come with the package.

    Raises BadInput for a file that cannot be read, or holds too few or too many different ones.
    """
    place = path or files("sliderspace.label") / "words.txt"
    try:
        lines = place.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
        raise BadInput(f"cannot read the words in {place}: {why}.\nGive a text file with a phrase a line.") from error
    phrases = tuple(dict.fromkeys(one_line(line.partition("#")[0]) for line in lines))
    phrases = tuple(phrase for phrase in phrases if not is_blank(phrase))
    if not LEAST <= len(phrases) <= MOST:
        raise BadInput(f"{place} holds {len(phrases)} different phrases: give {LEAST} to {MOST}, one a line")
    return phrases


def known_words(phrases: Sequence[str], settings: Settings) -> tuple[str, ...]:
    """Those that mean something to a model whose words are counted: to its CLIP the others are noise."""
    preset = PRESETS.get(settings.backbone)
    return tuple(phrase for phrase in phrases if preset is None or not preset.unknown_words(phrase))


def labels_by_words(clip: Clip, moves: Moves, phrases: Sequence[str]) -> list[Label]:
    """A label for each slider. BadInput where fewer than LEAST phrases mean anything to the model."""
    known = known_words(phrases, clip.settings)
    if len(known) < LEAST:
        raise BadInput(f"only {len(known)} of these words mean anything to {clip.settings.backbone}: give others")
    text_WD = clip.texts_about(known)
    text_WD = text_WD - text_WD.mean(axis=0)
    cosine_R, reach_R = (np.abs(f).max(axis=1) for f in (moves.chance(text_WD), moves.chance_reach(text_WD)))
    own = zip(moves.toward(text_WD), moves.reach(text_WD), strict=True)
    return [_label(cosine_W, reach_W, known, cosine_R, reach_R) for cosine_W, reach_W in own]


def _label(cosine_W: Array, reach_W: Array, phrases: Sequence[str], cosine_R: Array, reach_R: Array) -> Label:
    """The best phrase of each end. An end is named where few random directions fit any phrase so well, or move it so
    far; where neither end is, both are a guess."""
    low, high = int(cosine_W.argmin()), int(cosine_W.argmax())
    cosine, reach = ({low: -float(f_W[low]), high: float(f_W[high])} for f_W in (cosine_W, reach_W))
    beaten = {w: float((cosine_R < cosine[w]).mean()) for w in cosine}
    farther = {w: float((reach_R < reach[w]).mean()) for w in cosine}
    named = {w for w in cosine if beaten[w] >= LEVEL and farther[w] >= FAR_LEVEL}
    best = max(named or beaten, key=lambda w: cosine[w])
    left, right = (phrases[w] if w in named or not named else OPEN for w in (low, high))
    name = right if left == OPEN else f"{left} ↔ {right}"
    more = {"plus": right, "minus": left}
    sentence = ", ".join(f"toward {way} more of “{phrase}”" for way, phrase in more.items() if phrase != OPEN)
    return Label(
        proposed=name,
        sentence=f"{sentence[0].upper()}{sentence[1:]}.",
        low=phrases[low],
        high=phrases[high],
        confidence=beaten[best],
        passed=bool(named),
        by=BY,
        checks=Checks(
            cosine=cosine[best],
            beaten=beaten[best],
            reach=reach[best],
            farther=farther[best],
        ),
    )
