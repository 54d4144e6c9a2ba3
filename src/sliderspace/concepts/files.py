"""A file of prompts -> prompts: a line each, or a column of .csv or .jsonl."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

from sliderspace.core.errors import BadInput
from sliderspace.core.text import is_blank, one_line

COLUMNS = ("prompt", "text")
UNLIKE = 'line {} is not like {{"prompt": "a red robot"}}'
Read = TypeVar("Read")


def from_file(path: str | Path) -> tuple[str, ...]:
    """The prompts of a UTF-8 file, in order. One that stands twice counts twice.

    .txt: one a line, blank lines and those that start with # skipped. .csv and .jsonl: the column or key `prompt`, else
    `text`. Raises BadInput when the file is missing, not text, of another kind, or holds no prompt.
    """
    path = Path(path)
    prompts = tuple(p for p in map(one_line, _read(path, READERS)) if not is_blank(p))
    if not prompts:
        raise BadInput(f"{path} holds no prompts")
    return prompts


def rows_of(path: str | Path) -> list[dict[str, Any]]:
    """The rows of a UTF-8 .csv or .jsonl file by column, names in lower case. Errors as `from_file`."""
    return [{str(k).strip().lower(): v for k, v in row.items()} for row in _read(Path(path), TABLES)]


def _read(path: Path, readers: Mapping[str, Callable[[Iterable[str]], Iterator[Read]]]) -> list[Read]:
    read = readers.get(path.suffix.lower())
    if read is None:
        raise BadInput(f"{path}: only {', '.join(readers)} files are read")
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            return list(read(lines))
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is not UTF-8 text: save it as UTF-8") from error
    except (ValueError, csv.Error, RecursionError) as error:
        raise BadInput(f"{path}: {error}") from error


def _text_lines(lines: Iterable[str]) -> Iterator[str]:
    return (line for line in lines if not line.lstrip().startswith("#"))


def _csv_rows(lines: Iterable[str]) -> Iterator[str]:
    rows = csv.DictReader(lines, strict=True)
    column = _column(rows.fieldnames or ())
    return (row[column] or "" for row in rows)


def _json_rows(lines: Iterable[str]) -> Iterator[str]:
    for number, row in _json_objects(lines):
        try:
            yield one_line(row[_column(row)])
        except (ValueError, TypeError) as error:
            raise ValueError(UNLIKE.format(number)) from error


def _json_objects(lines: Iterable[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each line's number and object; ValueError for a line that is none."""
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                row: object = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            if not isinstance(row, dict):
                raise ValueError(f"line {number} is no JSON object: a .jsonl file has one on each line")
            yield number, cast("dict[str, Any]", row)


def _column(names: Iterable[str]) -> str:
    """The name among `names`, whatever its case, under which the prompt stands; ValueError if there is none."""
    known = {name.strip().lower(): name for name in names}
    if not (found := [known[c] for c in COLUMNS if c in known]):
        raise ValueError(f"no column is called prompt or text; there are {', '.join(known) or 'none'}")
    return found[0]


READERS: dict[str, Callable[[Iterable[str]], Iterator[str]]] = {
    ".txt": _text_lines,
    ".csv": _csv_rows,
    ".jsonl": _json_rows,
}


def _json_tables(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    for number, row in _json_objects(lines):
        prompts = [value for name, value in row.items() if name.strip().lower() in COLUMNS]
        if not all(value is None or isinstance(value, str) for value in prompts):
            raise ValueError(UNLIKE.format(number))
        yield row


TABLES: dict[str, Callable[[Iterable[str]], Iterator[dict[str, Any]]]] = {
    ".csv": lambda lines: csv.DictReader(lines, strict=True),
    ".jsonl": _json_tables,
}
