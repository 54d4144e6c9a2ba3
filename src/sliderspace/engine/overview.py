"""A folder of runs -> a line about each: how far it is, and its means. Reads a few small files of each, no models."""

from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

from sliderspace.core.errors import BadInput
from sliderspace.core.numbers import number
from sliderspace.storage.files import exists, load_json, stored_fingerprint
from sliderspace.storage.run_folder import RunFolder

Stage = Literal["new", "sampling", "training", "measuring", "done"]
STAGES: tuple[Stage, ...] = get_args(Stage)
MEANS = ("alignment", "consistency", "realism")


@dataclass(frozen=True)
class Row:
    """One run: `trouble` says why it cannot be read; means are those of its finished space."""

    name: str
    prompts: tuple[str, ...]
    stage: Stage
    means: dict[str, float | None]
    trouble: str = ""

    def plain(self) -> dict[str, Any]:
        """As `info --json` prints it."""
        return asdict(self)


def overview(root: Path) -> list[Row]:
    """The runs directly in a folder, by name; none where it cannot be looked into."""
    folders: list[Path] = []
    with suppress(OSError):
        folders = sorted(path for path in root.iterdir() if path.is_dir())
    return [_row(run) for run in map(RunFolder, folders) if run.is_ours()]


def _row(run: RunFolder) -> Row:
    try:
        said = load_json(run.config, kind="config").get("prompts") if exists(run.config) else None
        prompts = tuple(map(str, said)) if isinstance(said, list) else ()  # anything may stand in a damaged file
        return Row(run.root.name, prompts, _stage(run), _means(run))
    except BadInput as error:
        return Row(run.root.name, (), "new", dict.fromkeys(MEANS), str(error).splitlines()[0])


def _stage(run: RunFolder) -> Stage:
    """By what is there. A finished space counts where it is of the settings in config.json."""
    if exists(run.space):
        made_from = _table(load_json(run.space, kind="space").get("made_from"))
        if made_from.get("sliders") == stored_fingerprint(run.config):
            return "done"
    next_one = run.unfinished
    if exists(next_one.sliders):
        return "measuring"
    if exists(next_one.directions):
        return "training"
    return "sampling" if any(run.trajectories.glob("*.safetensors")) else "new"


def _means(run: RunFolder) -> dict[str, float | None]:
    mean = _table(load_json(run.measures, kind="measures").get("mean") if exists(run.measures) else None)
    return {name: number(mean.get(name)) for name in MEANS}


def _table(found: object) -> dict[str, object]:
    return cast("dict[str, object]", found) if isinstance(found, dict) else {}
