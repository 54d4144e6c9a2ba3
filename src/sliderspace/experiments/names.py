"""Named sliders -> how many names are of the factor that a judge says moved most, and how many sliders trained toward
random directions get a sure name.

    python -m sliderspace.experiments.names --out runs/names       # five concepts and a control of each, from nothing
    python -m sliderspace.experiments.names runs/monster           # a finished run, named by `sliderspace label`

Names are those of labels.json; where the run is made here, by the vocabulary, from pictures that the judge does not
see. Factors are those of measures.json. A name is right where a phrase in it is one that the world's table has for that
factor, and nearly so where it is of a factor that moves at least NEAR as far.
"""

import argparse
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sliderspace.core.errors import BadInput, SliderSpaceError
from sliderspace.core.numbers import number
from sliderspace.core.settings import Settings, Speed, settings_from
from sliderspace.engine.bars import watch
from sliderspace.engine.progress import Progress
from sliderspace.experiments.runs import discovered, folder_of
from sliderspace.experiments.studies.questions import FULL
from sliderspace.label.clip import Clip
from sliderspace.label.pictures import SEEDS, drawn
from sliderspace.label.vocabulary import OPEN, labels_by_words, read_words
from sliderspace.measure.results import FactorTable, Measures, SpaceFile
from sliderspace.report.verdicts import warnings_for
from sliderspace.space.labels import Label, labels_of, propose
from sliderspace.space.space import SliderSpace
from sliderspace.storage.run_folder import RunFolder

CONCEPTS = ("a monster", "a robot toy", "a dragon", "a bunny", "a creature in ink style")
CONTROL = "random"  # directions that nothing found
NEAR = 0.8  # of two factors moved about alike, other seeds may put the other first

COLOUR = "red|orange|yellow|green|teal|blue|purple|pink|brown|gr[ea]y|white|black|dark|pale|bright|dull"
GROUND = "(?:.* )?(?:background|ground|sky)"
BODY = rf"(?:(?:{COLOUR})\b.*(?<!background)|gold)"
EYES = r"(?:one|two|three) eyes?"

World = Mapping[str, str]  # factor -> a regular expression of the phrases that name it
CREATURES: World = {
    "kind": "monster|robot(?: toy)?|dragon|bunny",
    "style": ".* style|cartoon|photograph|painting|drawing|black and white|night",
    "eyes": EYES,
    "marking": "spots|stripes",
    "marks": "spots|stripes",
    **dict.fromkeys(("body", "body_light", "body_red", "body_yellow"), BODY),
    **dict.fromkeys(("ground", "ground_light", "ground_red", "ground_yellow"), GROUND),
    "lamp": "light from the (?:left|right)|shadow",
    "yaw": "turned (?:left|right)|from the side",
    "width": "fat|thin",
    "size": "big|small|tall|close-up|far away",
    "head": "(?:(?:big|small) )?head",
    "eye_size": "(?:big|small) eyes",
    "lid": "sleepy|closed eyes",
    "smile": "smiling|frowning|happy|sad",
    "open": "mouth (?:open|closed)|teeth",
    "arms": "arms (?:up|down)",
    "legs": "(?:long|short) legs|tall",
    "horns": "(?:(?:long|short|no) )?horns",
    "ears": "(?:(?:long|short|no) )?ears",
    "antennae": "(?:(?:long|short|no) )?antennae",
    "tail": "(?:(?:long|short|no) )?tail",
    "spikes": "(?:(?:no) )?spikes",
    "belly": "a pale belly",
    "gloss": "shiny|matte|vinyl style|plastic|metal|glass",
}


@dataclass(frozen=True)
class Score:
    """Of `sliders` that moved some factor: names that are of the one moved most, whether sure or not, or `nearly` so;
    and of the sure ones alone. `wrong` lists the others: slider, name, factor."""

    sliders: int
    right: int
    nearly: int
    sure: int
    sure_right: int
    wrong: tuple[tuple[int, str, str], ...]


def score(labels: Sequence[Label], factors: FactorTable, world: World, among: Sequence[int] | None = None) -> Score:
    """Names against the factor table of a judge, for the sliders `among` (None: all). A factor that the world's table
    has not is an error of the table: BadInput."""
    if unknown := sorted(set(factors.names) - set(world)):
        raise BadInput(f"this table of words has none for the judge's {', '.join(unknown)}")
    rows = [k for k in (range(len(labels)) if among is None else among) if _moved(factors, k)]
    effects_KF = np.array([[number(e) or 0.0 for e in row] for row in factors.effects])
    top = {k: factors.names[int(effects_KF[k].argmax())] for k in rows}
    right = [k for k in rows if is_of(labels[k].proposed, world[top[k]])]
    near = {k: np.flatnonzero(effects_KF[k] >= NEAR * effects_KF[k].max()) for k in rows}
    nearly = [k for k in rows if any(is_of(labels[k].proposed, world[factors.names[f]]) for f in near[k])]
    sure = [k for k in rows if labels[k].passed]
    wrong = tuple((k, labels[k].proposed or "–", top[k]) for k in rows if k not in right)
    return Score(len(rows), len(right), len(nearly), len(sure), len(set(sure) & set(right)), wrong)


def is_of(name: str | None, words: str) -> bool:
    """Whether a phrase of a vocabulary's name is of these words."""
    phrases = [part.strip() for part in (name or "").split("↔")]
    return any(phrase != OPEN and re.fullmatch(words, phrase) for phrase in phrases)


def _moved(factors: FactorTable, slider: int) -> bool:
    return any((number(effect) or 0.0) > 0 for effect in factors.effects[slider])


@dataclass(frozen=True)
class Row:
    """One run: all its sliders that moved some factor, and those of them that earn no warning in the report."""

    prompt: str
    control: bool
    whole: Score
    passing: Score


def of_run(run: RunFolder) -> Row:
    """The scores of a finished run with names. BadInput where no judge named its factors."""
    measured, settings = Measures.read(run.measures), SpaceFile.read(run.space).settings
    if measured.factors is None:
        raise BadInput(f"no judge named the factors of {run.root}")
    labels = labels_of(run).sliders
    passing = [
        k for k, slider in enumerate(measured.sliders) if not warnings_for(slider, measured.mean, measured.leakage[k])
    ]
    found = [score(labels, measured.factors, CREATURES, among) for among in (None, passing)]
    return Row(settings.prompts[0], settings.control == CONTROL, *found)


def table(rows: Sequence[Row]) -> str:
    """Markdown: a line a run, and the names that are not of the factor moved most."""
    lines = [
        "| concept | sliders | right | nearly | without a warning | of them right | sure | of them right |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        name = f"{row.prompt}, random directions" if row.control else row.prompt
        whole, passing = row.whole, row.passing
        counts = (
            whole.sliders,
            whole.right,
            whole.nearly,
            passing.sliders,
            passing.right,
            whole.sure,
            whole.sure_right,
        )
        lines.append(f"| {' | '.join(map(str, (name, *counts)))} |")
    for row in rows:
        if not row.control:
            lines += ["", f"{row.prompt}, not the factor moved most:"]
            lines += [f"- slider {k}: {name}, where it is {factor}" for k, name, factor in row.whole.wrong]
    return "\n".join(lines)


def asked_for(backbone: str, **changed: object) -> list[Settings]:
    """The creatures' kinds and a style, and for each a discovery whose axes are random instead of found."""
    return [
        settings_from({"backbone": backbone, **FULL, **changed, "prompts": (prompt,), "control": control})
        for prompt in CONCEPTS
        for control in ("none", CONTROL)
    ]


def discoveries(asked: Sequence[Settings], out: Path, speed: Speed) -> Iterator[Progress]:
    """Each where it is not there yet; a control shares the trajectories of its concept."""
    for place, settings in enumerate(asked):
        for progress in discovered(settings, folder_of(settings, out), out / "trajectories", speed):
            yield Progress("names", place, len(asked), f"{settings.prompts[0]}: {progress.stage}")
        yield Progress("names", place + 1, len(asked), settings.prompts[0])


def _name(space: SliderSpace) -> None:
    """Names by the vocabulary, from pictures of seeds that are not measured."""
    clip = Clip(space)
    found = labels_by_words(clip, clip.moves(drawn(space, SEEDS)), read_words())
    propose(RunFolder(space.folder), dict(enumerate(found)), space.made_from)


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", nargs="*", type=Path, help="finished runs; none: make them in --out")
    parser.add_argument("--out", type=Path, default=Path("runs/names"))
    parser.add_argument("--backbone", default="mini-turbo")
    asked = parser.parse_args(words)
    speed = Speed()
    try:
        folders = [RunFolder(folder) for folder in asked.folders]
        if not folders:
            grid = asked_for(asked.backbone)
            watch(discoveries(grid, asked.out, speed))
            folders = [folder_of(settings, asked.out) for settings in grid]
            for run in folders:
                _name(SliderSpace.load(run.root, speed))
        print(table([of_run(run) for run in folders]))
    except SliderSpaceError as error:
        sys.exit(f"{error}")


if __name__ == "__main__":
    main()
