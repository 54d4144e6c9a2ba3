"""What is stored of the protocols, as types: observability.json, and a part of evaluation.json."""

from typing import ClassVar, Self

from pydantic import model_validator

from sliderspace.measure.records import Interval, Number, Numbers, Record, Stored, Table, expect

ASKED = 1.0  # observability that Measured Sliders asks of a quantity


class Protocol(Record):
    """A number of a whole space, what chance gives, and the same of each slider or direction."""

    mean: Interval
    chance: Number
    each: Numbers


class Observability(Stored):
    """observability.json: whether each direction shows in single previews, known before anything is trained."""

    kind: ClassVar[str] = "observability"
    advice: ClassVar[str] = "Delete it and run `sliderspace fit {folder}` to make it again."

    found: Protocol
    steps: tuple[int, ...]  # of the sampler, whose previews were looked at
    by_step: Table

    @property
    def unseen(self) -> list[int]:
        """The directions that do not show: those of at most 1, or of no more than previews of other images score."""
        least = max(ASKED, self.found.chance or 0.0)
        return [k for k, value in enumerate(self.found.each) if value is not None and value <= least]

    @model_validator(mode="after")
    def _of_one_shape(self) -> Self:
        expect("by_step", len(self.by_step), len(self.steps))
        for row in self.by_step:
            expect("a row of by_step", len(row), len(self.found.each))
        return self


class ViewProtocols(Record):
    """What sliders do together and on the way, as one encoder sees it. None of a space of too few sliders."""

    pairs: Protocol | None
    triples: Protocol | None
    evenness: Protocol  # lower is more even


class Protocols(Record):
    """Those of newer work. None where there is nothing to measure: no judge, axes that nobody fitted, one step."""

    training: ViewProtocols
    judge: ViewProtocols | None
    stability: Protocol | None
    observability: Protocol | None
