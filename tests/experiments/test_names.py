"""Names against true factors: right where a phrase is of the factor moved most."""

import json
from pathlib import Path
from typing import Any

import pytest

from sliderspace.core.errors import BadInput
from sliderspace.experiments.names import CREATURES, Score, is_of, score
from sliderspace.measure.results import FactorTable
from sliderspace.space.labels import Label

ROOT = Path(__file__).parents[2]


def table(*effects: list[float], names: tuple[str, ...] = ("body", "horns", "ground")) -> FactorTable:
    about: dict[str, Any] = {"becomes": [[None] * len(names)] * len(effects), "gap": [0.1] * len(effects)}
    return FactorTable.model_validate(
        {"names": names, "effects": effects, "own_sliders": 0, "single_factor": 0, **about}
    )


def named(name: str | None, passed: bool = False) -> Label:
    return Label(proposed=name, passed=passed)


def test_a_name_counts_where_it_is_of_the_factor_moved_most() -> None:
    labels = [named("grey ↔ orange", True), named("… ↔ long horns"), named("red background", True), named(None)]
    factors = table([0.9, 0.2, 0.1], [0.1, 0.3, 0.2], [0.5, 0.0, 0.4], [0.0, 0.2, 0.1])
    wrong = ((2, "red background", "body"), (3, "–", "horns"))
    assert score(labels, factors, CREATURES) == Score(4, right=2, nearly=3, sure=2, sure_right=1, wrong=wrong)
    assert score(labels, factors, CREATURES, among=[0, 1]).right == 2
    still = table([0.0, 0.0, 0.0], [0.1, 0.3, 0.2])
    assert score(labels[:2], still, CREATURES).sliders == 1, "what moves nothing has no true name"


@pytest.mark.parametrize(
    ("name", "factor", "due"),
    [
        ("red ↔ teal", "body", True), ("red background", "body", False), ("red background ↔ sky", "ground_light", True),
        ("dark", "body_light", True), ("three eyes ↔ …", "eyes", True), ("big eyes", "eyes", False), ("big eyes", "eye_size", True),
        ("no horns", "horns", True), ("neon style", "style", True), ("thin ↔ fat", "width", True), (None, "kind", False),
    ],
)  # fmt: skip
def test_phrases_name_the_creatures_factors(name: str | None, factor: str, due: bool) -> None:
    assert is_of(name, CREATURES[factor]) == due


def test_every_factor_of_the_shipped_judge_has_words() -> None:
    config = ROOT / "src" / "sliderspace" / "assets" / "mini" / "judge" / "config.json"
    names = tuple(json.loads(config.read_text())["classes"])
    assert set(names) <= set(CREATURES)
    with pytest.raises(BadInput, match="wheels"):
        score([named("x")], table([0.1], names=("wheels",)), CREATURES)
