"""Named sliders -> how many names are of the factor that a judge says moved most.

    python -m sliderspace.experiments.names runs/monster runs/dragon

Names are those of labels.json (`sliderspace label DIR` first), factors those of measures.json. A name is right where a
phrase in it is one that the world's table has for that factor.
"""

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from sliderspace.core.errors import BadInput
from sliderspace.core.numbers import number
from sliderspace.label.vocabulary import OPEN
from sliderspace.measure.results import Factors, FactorTable, Measures
from sliderspace.report.verdicts import warnings_for
from sliderspace.space.labels import Label, labels_of
from sliderspace.storage.run_folder import RunFolder

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
    """Of `sliders` that moved some factor: names that are of the one moved most, whether sure or not; and of the sure
    ones alone. `wrong` lists the others: slider, name, factor."""

    sliders: int
    right: int
    sure: int
    sure_right: int
    wrong: tuple[tuple[int, str, str], ...]


def score(labels: Sequence[Label], factors: FactorTable, world: World, among: Sequence[int] | None = None) -> Score:
    """Names against the factor table of a judge, for the sliders `among` (None: all). A factor that the world's table
    has not is an error of the table: BadInput."""
    if unknown := sorted(set(factors.names) - set(world)):
        raise BadInput(f"this table of words has none for the judge's {', '.join(unknown)}")
    rows = [k for k in (range(len(labels)) if among is None else among) if _moved(factors, k)]
    top = {k: factors.names[int(np.argmax([number(e) or 0.0 for e in factors.effects[k]]))] for k in rows}
    right = [k for k in rows if is_of(labels[k].proposed, world[top[k]])]
    sure = [k for k in rows if labels[k].passed]
    wrong = tuple((k, labels[k].proposed or "–", top[k]) for k in rows if k not in right)
    return Score(len(rows), len(right), len(sure), len(set(sure) & set(right)), wrong)


def is_of(name: str | None, words: str) -> bool:
    """Whether a phrase of a vocabulary's name is of these words."""
    phrases = [part.strip() for part in (name or "").split("↔")]
    return any(phrase != OPEN and re.fullmatch(words, phrase) for phrase in phrases)


def _moved(factors: FactorTable, slider: int) -> bool:
    return any((number(effect) or 0.0) > 0 for effect in factors.effects[slider])


def of_run(run: RunFolder) -> dict[str, Score]:
    """The score of all sliders of a run, and of those that earn no warning in the report."""
    measured = Measures.read(run.measures)
    factors: Factors | None = measured.factors
    if factors is None:
        raise BadInput(f"no judge named the factors of {run.root}")
    labels = labels_of(run).sliders
    passing = [
        k for k, slider in enumerate(measured.sliders) if not warnings_for(slider, measured.mean, measured.leakage[k])
    ]
    return {"all": score(labels, factors, CREATURES), "without warnings": score(labels, factors, CREATURES, passing)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    for folder in parser.parse_args().folders:
        try:
            found = {name: asdict(part) for name, part in of_run(RunFolder(folder)).items()}
        except BadInput as error:
            parser.error(str(error))
        print(folder, json.dumps(found, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
