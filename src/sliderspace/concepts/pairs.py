"""Pairs of words, each a slider that is asked for: as typed, or from a file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sliderspace.concepts.files import rows_of
from sliderspace.core.errors import BadInput
from sliderspace.core.settings import Pair, checked


def pairs_of(words: Sequence[str], file: Path | None) -> tuple[Pair, ...]:
    """Two texts a pair as they are typed, then those of a file: a .csv or .jsonl with the columns plus, minus and name,
    of which plus must be there.

    Raises BadInput for an odd number of texts, two equal ones, or a file that holds no pairs.
    """
    if len(words) % 2:
        raise BadInput(f"{len(words)} texts are no pairs: two for each slider, what it draws more of and less of")
    rows: list[dict[str, Any]] = [
        {"plus": plus, "minus": minus} for plus, minus in zip(words[::2], words[1::2], strict=True)
    ]
    rows += [{k: v for k, v in row.items() if k in Pair.model_fields and v is not None} for row in _rows(file)]
    return tuple(checked(Pair, row) for row in rows)


def _rows(file: Path | None) -> list[dict[str, Any]]:
    if file is None:
        return []
    found = rows_of(file)
    if not found:
        raise BadInput(f"{file} holds no pairs")
    return found
