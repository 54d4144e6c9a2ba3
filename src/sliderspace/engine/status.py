"""A run folder -> how far it got, and of which settings each part is: what `info` shows.

Every file says what it was made from, and config.json what is asked for; so no model is loaded to compare them.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from sliderspace.core.settings import Settings, settings_from
from sliderspace.engine import fingerprints
from sliderspace.measure.protocols.records import Observability
from sliderspace.measure.results import Evaluation, Measures, Record, SpaceFile
from sliderspace.report.from_run import reported_of
from sliderspace.space.labels import Label, labels_of
from sliderspace.storage.files import load_json, stored_fingerprint
from sliderspace.storage.run_folder import RunFolder

State = Literal["done", "missing", "of other settings"]


class Status(Record):
    """What a run folder holds. `observability` is that of the directions config.json asks for; `measures` and `labels`
    are those of its finished space; where config.json asks for other settings by now, the measures are `earlier`, and
    `changed` says what differs."""

    folder: str
    settings: Settings
    stages: dict[str, State]
    observability: Observability | None = None
    measures: Measures | None = None
    labels: tuple[Label, ...] = ()
    earlier: bool = False
    changed: tuple[str, ...] = ()

    def plain(self) -> dict[str, object]:
        """As `info --json` prints it: the measures on the top level where they are of these settings."""
        values = self.model_dump(mode="json", exclude={"measures", "labels", "earlier"})
        values["labels"] = [label.plain() for label in self.labels]
        if self.measures is None:
            return values
        measured: dict[str, object] = self.measures.model_dump(mode="json")
        return {**values, **({"earlier": measured} if self.earlier else measured)}


def describe_run(folder: Path) -> Status:
    """The state of every stage, and the measures of the space that is finished. Raises BadInput where there is no run,
    DamagedFile where a file is broken."""
    run = RunFolder(folder)
    run.check_exists()
    settings = settings_from(load_json(run.config, kind="config"))
    seen = _observability(run, settings)
    status = Status(folder=str(folder), settings=settings, stages=stages_of(run, settings), observability=seen)
    space = SpaceFile.read(run.space) if run.space.exists() else None
    measures = Measures.read(run.measures) if run.measures.exists() else None
    labels = labels_of(run).sliders if space and run.whole_space() else ()
    if space is None or measures is None or space.foreign(run):
        return status.model_copy(update={"labels": labels})
    found = {
        "measures": measures,
        "labels": labels,
        "earlier": status.stages["measure"] != "done",
    }
    return status.model_copy(update=found | {"changed": space.changed(settings)})


def stages_of(run: RunFolder, settings: Settings) -> dict[str, State]:
    """Stage -> whether its result is there and of these settings."""
    asked = stored_fingerprint(run.config)
    measured = stored_fingerprint(run.measures)
    evaluation = Evaluation.read(run.evaluation).made_from if run.evaluation.exists() else None
    return {
        "sample": _sampled(run, settings, asked),
        "fit": _state(
            _stamps(run.directions, run.unfinished.directions),
            lambda own: _is_fitted(settings, asked, own),
        ),
        "train": _state(_stamps(run.sliders, run.unfinished.sliders), lambda own: own == asked),
        "measure": _state([measured], lambda _: is_measured(run)),
        "evaluate": _state([evaluation], lambda own: own == measured and is_measured(run)),
        "report": _state([reported_of(run.report)], lambda own: own == measured and is_measured(run)),
    }


def _is_fitted(settings: Settings, asked: str | None, own: str) -> bool:
    """Whether directions of this fingerprint are those that config.json asks for."""
    return asked in (own, fingerprints.trained(settings, own))


def _observability(run: RunFolder, settings: Settings) -> Observability | None:
    asked = stored_fingerprint(run.config)
    for own in _stamps(run.directions, run.unfinished.directions):
        if own is not None and _is_fitted(settings, asked, own):
            path = run.find(run.observability.name, fingerprints.observed(own))
            return Observability.read(path) if path else None
    return None


def _stamps(*places: Path) -> list[str | None]:
    """What the finished and the unfinished file were made from."""
    return [stored_fingerprint(place) for place in places]


def is_measured(run: RunFolder) -> bool:
    """Whether the folder holds a finished space of the settings in config.json, with its measures."""
    if not all(path.exists() for path in (run.directions, run.sliders, run.space, run.measures, run.strips)):
        return False
    space = SpaceFile.read(run.space)
    return space.made_from.sliders == stored_fingerprint(run.config) and not space.foreign(run)


def _state(made_from: Sequence[str | None], is_asked: Callable[[str], bool]) -> State:
    found = [own for own in made_from if own is not None]
    if not found:
        return "missing"
    return "done" if any(map(is_asked, found)) else "of other settings"


def _sampled(run: RunFolder, settings: Settings, asked: str | None) -> State:
    """Whether the trajectories that config.json was made from are all there."""
    covered: dict[str, set[int]] = {}
    for path in run.trajectories.glob("*.safetensors"):
        first = path.stem.partition("-")[0]
        if not first.isdecimal():  # what some other program left
            continue
        drawn, _, count = (stored_fingerprint(path) or "").rpartition(":")
        if count.isdecimal():
            covered.setdefault(drawn, set()).update(range(int(first), int(first) + int(count)))
    due = set(range(settings.samples + settings.held_out))
    states = {drawn: _trained(settings, drawn) == asked for drawn in covered}
    if not covered or any(is_asked and not due <= covered[drawn] for drawn, is_asked in states.items()):
        return "missing"
    return "done" if any(states.values()) else "of other settings"


def _trained(settings: Settings, drawn: str) -> str:
    return fingerprints.trained(settings, fingerprints.fitted(settings, fingerprints.sampled(settings, drawn)))
