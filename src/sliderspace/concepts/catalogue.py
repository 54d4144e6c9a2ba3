"""A file of concepts -> concepts: a name for a folder, and the prompts that describe it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sliderspace.concepts.files import COLUMNS, TABLES, from_file, rows_of
from sliderspace.core.errors import BadInput
from sliderspace.core.text import folder_name, is_blank, one_line, slug

BETWEEN = "|"  # two prompts of one concept


@dataclass(frozen=True)
class Concept:
    """`name` is also that of its run folder: lower case, letters and digits of any language, and hyphens."""

    name: str
    prompts: tuple[str, ...]


def concepts_from(path: str | Path) -> tuple[Concept, ...]:
    """The concepts of a UTF-8 file, in order: one a line, its prompts with | between them.

    .txt: named after the prompts, as `discover` names a folder; blank lines and those that start with # are skipped.
    .csv and .jsonl: the column or key `prompt`, else `text`; named by `name` where there is one that is not blank.
    Raises BadInput as `from_file`, and where two concepts have one name.
    """
    path = Path(path)
    rows = _rows(path) if path.suffix.lower() in TABLES else ((line, "") for line in from_file(path))
    found = [_concept(path, text, name) for text, name in rows if not is_blank(text)]
    if not found:
        raise BadInput(f"{path} holds no concepts")
    _check_names(path, found)
    return tuple(found)


def _rows(path: Path) -> Iterator[tuple[str, str]]:
    for row in rows_of(path):
        column = next((name for name in COLUMNS if name in row), None)
        if column is None:
            raise BadInput(f"{path}: no column is called prompt or text; there are {', '.join(row) or 'none'}")
        yield one_line(str(row[column] or "")), one_line(str(row.get("name") or ""))


def _concept(path: Path, text: str, name: str) -> Concept:
    prompts = tuple(part.strip() for part in text.split(BETWEEN))
    if any(map(is_blank, prompts)):
        raise BadInput(f"{path}: a prompt is empty in “{text[:60]}”: {BETWEEN} stands between two prompts")
    return Concept(slug(name) or folder_name(prompts), prompts)


def _check_names(path: Path, concepts: Iterable[Concept]) -> None:
    """BadInput where two would share a folder."""
    seen: dict[str, Concept] = {}
    for concept in concepts:
        first = seen.setdefault(concept.name, concept)
        if first is not concept:
            raise BadInput(
                f"{path}: “{first.prompts[0][:60]}” and “{concept.prompts[0][:60]}” would both be called "
                f"{concept.name}.\nLeave one out, or give them names: a column `name` of a .csv or .jsonl file."
            )
