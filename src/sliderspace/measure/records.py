"""What stored records are made of: numbers that may be missing, their intervals, and whole files of a run folder."""

from pathlib import Path
from shlex import quote
from typing import Annotated, ClassVar, Self

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, ValidationError

from sliderspace.core.arrays import Array
from sliderspace.core.errors import DamagedFile
from sliderspace.core.numbers import number
from sliderspace.core.text import shown
from sliderspace.storage.files import load_json, save_json


def _finite(value: object) -> object:
    """NaN and infinities are no values; what is no number at all is left for the type to refuse."""
    return number(value) if isinstance(value, float | int | np.number) and not isinstance(value, bool) else value


Number = Annotated[Annotated[float, Strict()] | None, BeforeValidator(_finite)]
Finite = Annotated[float, Strict(), Field(allow_inf_nan=False)]
Numbers = tuple[Number, ...]
Table = tuple[Numbers, ...]


class Record(BaseModel):
    """Part of a stored result."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Stored(Record):
    """The contents of a whole file of a run folder."""

    kind: ClassVar[str]
    advice: ClassVar[str]  # what to do about a damaged file of {folder}

    @classmethod
    def read(cls, path: Path) -> Self:
        """BadInput when there is no such file, DamagedFile when it is broken, foreign, or holds what it cannot hold."""
        try:
            return cls.model_validate(load_json(path, kind=cls.kind))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))[:80] or "as a whole"
            what = shown(" ".join(f"{place}: {first['msg'][:200]}".split()))
            raise DamagedFile(f"{path} holds what it should not ({what}).\n{cls.mending(path)}") from error

    @classmethod
    def mending(cls, path: Path) -> str:
        """What to do about a damaged file."""
        return cls.advice.format(folder=quote(str(path.parent)))

    def write(self, path: Path, fingerprint: str) -> None:
        """Atomically, stamped with what it was made from; errors as `save_json`."""
        save_json(path, self.model_dump(mode="json"), kind=self.kind, fingerprint=fingerprint)


class Interval(Record):
    """A number and the ends of its 95 % interval."""

    value: Number
    low: Number = None
    high: Number = None


def interval(value: float, low: float, high: float) -> Interval:
    return Interval(value=value, low=low, high=high)


def as_table(values_NM: Array) -> tuple[tuple[float | None, ...], ...]:
    return tuple(tuple(row) for row in values_NM.tolist())


def expect(what: str, count: int, due: int) -> None:
    if count != due:
        raise ValueError(f"{what} has {count} entries where {due} are due")


def expect_square(what: str, table: Table, count: int) -> None:
    expect(what, len(table), count)
    for row in table:
        expect(f"a row of {what}", len(row), count)
