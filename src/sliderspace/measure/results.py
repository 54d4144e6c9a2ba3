"""What is stored of a finished space, as types: the records of measures.json, evaluation.json and space.json.

A number that has no value (the selectivity of a slider that is alone) is None, and null in the file. Keys that a later
version adds are passed over. K sliders, F factors, T sampler steps.
"""

from pathlib import Path
from typing import ClassVar, Generic, Self, TypeVar

from pydantic import model_validator

from sliderspace.core.settings import Measuring, Settings
from sliderspace.measure.protocols.records import Protocols
from sliderspace.measure.records import (
    Finite,
    Interval,
    Number,
    Numbers,
    Record,
    Stored,
    Table,
    expect,
    expect_square,
)
from sliderspace.storage.files import stored_fingerprint
from sliderspace.storage.run_folder import RunFolder

T = TypeVar("T")


class Scores(Record, Generic[T]):
    """The measures that every view takes, of one slider or on average over all; T is Number or Interval."""

    alignment: T | None = None
    consistency: T | None = None
    selectivity: T | None = None
    monotone_share: T | None = None
    realism: T | None = None
    realism_2: T | None = None
    own_direction_largest: T | bool | None = None  # of one slider yes or no, on average a share


class SliderScores(Scores[Number]):
    index: int | None = None


class SliderMeasures(SliderScores):
    """All that a discovery measures of one slider."""

    explained_variance_ratio: Number = None
    unit: Number = None  # raw strength
    unit_reached: bool | None = None
    consistency_by_size: Numbers = ()
    span: tuple[Number, Number] | None = None  # usable, in units


class Means(Scores[Number]):
    explained_variance_ratio: Number = None
    unit: Number = None
    unit_reached: Number = None
    effective_rank: Number = None


class JudgeView(Record):
    """The measures in the embedding of an encoder that trained nothing."""

    encoder: str
    sliders: tuple[SliderScores, ...]
    mean: Scores[Number]
    leakage: Table


class FactorMeans(Record, Generic[T]):
    """How cleanly sliders take factors apart, on average."""

    gap: T | None = None
    disentanglement: T | None = None
    disentanglement_of_shares: T | None = None
    completeness: T | None = None


class FactorControl(FactorMeans[Number]):
    """The same of changes that no slider made."""

    own_sliders: int | None = None
    single_factor: int | None = None


class Informed(Record):
    """What coordinates along directions tell of each factor."""

    informativeness: dict[str, Number]
    mutual_information_gap: dict[str, Number]


class FactorTable(Record):
    """Effects [K, F] on each factor from −1 to +1 unit, and what it becomes: the value there is most of at each end."""

    names: tuple[str, ...]
    effects: Table
    becomes: tuple[tuple[tuple[str, str] | None, ...], ...]
    gap: Numbers
    own_sliders: int
    single_factor: int

    @model_validator(mode="after")
    def _of_one_shape(self) -> Self:
        expect("gap", len(self.gap), len(self.effects))
        expect("becomes", len(self.becomes), len(self.effects))
        for name, rows in (("effects", self.effects), ("becomes", self.becomes)):
            for row in rows:
                expect(f"a row of {name}", len(row), len(self.names))
        return self


class Factors(FactorTable):
    mean: FactorMeans[Number]


class EvaluatedFactors(FactorTable, Informed):
    mean: FactorMeans[Interval]
    controls: dict[str, FactorControl]
    told_by_random_directions: Informed


class Measures(Stored):
    """measures.json: what a discovery measures, on seeds that neither PCA nor training nor calibration saw."""

    kind: ClassVar[str] = "measures"
    advice: ClassVar[str] = "Delete it and run `sliderspace measure {folder}` to make it again."

    sliders: tuple[SliderMeasures, ...]
    mean: Means
    leakage: Table  # rows: sliders, columns: directions
    sizes: tuple[Finite, ...] = Measuring().sizes
    seeds: int | None = None
    encoder: str = ""
    realism_encoder: str = ""
    judge: JudgeView | None = None
    factors: Factors | None = None

    @model_validator(mode="after")
    def _of_one_space(self) -> Self:
        expect_square("leakage", self.leakage, len(self.sliders))
        if self.judge:
            expect("judge.sliders", len(self.judge.sliders), len(self.sliders))
            expect_square("judge.leakage", self.judge.leakage, len(self.sliders))
        if self.factors:
            expect("factors.effects", len(self.factors.effects), len(self.sliders))
        return self


# ---- evaluation.json


class SliderIntervals(Scores[Interval]):
    index: int | None = None


class EvaluatedView(Record):
    encoder: str
    sliders: tuple[SliderIntervals, ...]
    mean: Scores[Interval]
    leakage: Table


class Control(Record):
    """The same moves on directions that are not the sliders' own."""

    alignment: Number = None
    selectivity: Number = None
    own_direction_largest: Number = None


class Views(Record):
    training: EvaluatedView
    judge: EvaluatedView | None


class Controls(Record):
    training: dict[str, Control]
    judge: dict[str, Control] | None


class ByStep(Record):
    """Preview measures [K, T] of each sampler step alone."""

    steps: tuple[int, ...]
    alignment: Table
    consistency: Table


class SideEffects(Record):
    """What is left of each slider's own move while `active` are on, and whether moves add up."""

    active: int
    retained: Numbers
    additivity: Numbers


class Evaluation(Stored):
    """evaluation.json: what `evaluate` measures of a finished space."""

    kind: ClassVar[str] = "evaluation"
    advice: ClassVar[str] = "Delete it and run `sliderspace evaluate {folder}` to make it again."

    seeds: int
    views: Views
    orthogonality: Table
    by_step: ByStep
    side_effects: SideEffects
    controls: Controls
    factors: EvaluatedFactors | None
    protocols: Protocols | None = None
    made_from: str  # the fingerprint of the measures

    @model_validator(mode="after")
    def _of_one_space(self) -> Self:
        count = len(self.views.training.sliders)
        views = {"training": self.views.training, "judge": self.views.judge}
        for name, view in views.items():
            if view:
                expect(f"views.{name}.sliders", len(view.sliders), count)
                expect_square(f"views.{name}.leakage", view.leakage, count)
        expect_square("orthogonality", self.orthogonality, count)
        for name, table in (("alignment", self.by_step.alignment), ("consistency", self.by_step.consistency)):
            expect(f"by_step.{name}", len(table), count)
            for row in table:
                expect(f"a row of by_step.{name}", len(row), len(self.by_step.steps))
        if self.factors:
            expect("factors.effects", len(self.factors.effects), count)
        return self


# ---- space.json


class MadeFrom(Record):
    """The fingerprints of the files that a space is made of."""

    directions: str | None = None  # imported sliders may have been trained for none
    sliders: str


class SpaceEntry(Record):
    """One slider of a space: `unit` is its raw strength at 1.0; an imported one brings its measures along."""

    index: int | None = None
    unit: Finite
    measures: SliderMeasures | None = None


class SpaceFile(Stored):
    """space.json: the sliders of a finished space, their units, and the settings they were made with."""

    kind: ClassVar[str] = "space"
    advice: ClassVar[str] = (
        "Undo the last change of it; of a space that was discovered here, delete it and run `sliderspace measure "
        "{folder}`."
    )

    made_from: MadeFrom
    settings: Settings
    imported: bool = False  # such sliders cannot be made again from their folder
    sliders: tuple[SpaceEntry, ...]

    @model_validator(mode="after")
    def _discovered_along_directions(self) -> Self:
        if self.made_from.directions is None and not self.imported:
            raise ValueError("made_from.directions is missing")
        return self

    def foreign(self, run: RunFolder) -> list[Path]:
        """The files of its folder that were made for another space; what is missing is not among them."""
        own = stored_fingerprint(run.space)
        due = {run.directions: self.made_from.directions, run.sliders: self.made_from.sliders}
        due |= {run.measures: own, run.strips: own}
        return [path for path, made_from in due.items() if stored_fingerprint(path) not in (None, made_from)]

    def changed(self, asked: Settings) -> tuple[str, ...]:
        """What `asked` has in place of this space's settings, as lines to show."""
        own, other = (s.model_dump(mode="json") for s in (self.settings, asked))
        return tuple(f"{key}: {own[key]} → {other[key]}" for key in own if own[key] != other[key])
