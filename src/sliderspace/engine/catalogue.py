"""Many concepts, a run folder each: discovered one after another, by any number of processes on one catalogue folder.

Processes share a catalogue by the locks of the run folders alone: what another one holds is passed over. Within a
discovery the work is the engine's, as in any other.
"""

import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sliderspace.core.errors import BadInput, DiskFull, Held, SliderSpaceError
from sliderspace.core.settings import Settings, Speed
from sliderspace.core.text import shown
from sliderspace.engine import local
from sliderspace.engine.begin import begin, models_for
from sliderspace.engine.models import Loaded, Models
from sliderspace.engine.overview import STAGES, Stage
from sliderspace.engine.progress import Progress
from sliderspace.engine.stages import is_measured
from sliderspace.engine.tasks import Engine, in_turn
from sliderspace.models import texts
from sliderspace.report.from_run import report_run, reported_of
from sliderspace.storage.files import is_done, stored_fingerprint
from sliderspace.storage.run_folder import RunFolder


@dataclass(frozen=True)
class Discovery:
    """A concept to discover: what is asked for, and the run folder that it goes to."""

    settings: Settings
    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name


@dataclass(frozen=True)
class Ended:
    """A concept is done, failed for a reason, or is held by another process. `trace` is of a failure that nobody
    foresaw. No error is kept itself: its frames would keep models and pictures in memory."""

    failed: str = ""
    trace: str = ""
    held: bool = False

    @classmethod
    def by(cls, error: Exception) -> "Ended":
        said = " ".join(shown(str(error)).split())
        if isinstance(error, SliderSpaceError):
            return cls(said)
        return cls(f"{type(error).__name__}: {said}", "".join(traceback.format_exception(error)))


Work = Callable[[Discovery], Generator[Progress]]
Event = tuple[Discovery, Progress | Ended]


# ---- one concept


def discover_concept(
    discovery: Discovery, speed: Speed, loaded: Loaded, *, replace: bool = False, engine: Engine = in_turn
) -> Generator[Progress]:
    """Discover a concept from wherever it is to its report; nothing where that is there already.

    Raises Held where another process is at it, SliderSpaceError for whatever cannot be done.
    """
    run = RunFolder(discovery.folder)
    if is_reported(models_for(discovery.settings, speed, run, loaded)):
        return
    with run.open_for_writing():
        models, _ = begin(discovery.settings, speed, run, replace=replace, loaded=loaded)
        yield from local.discover(models, engine)
        report_run(run)


def is_reported(models: Models) -> bool:
    """Whether a run of these very settings is finished, and its report is written."""
    run = models.run
    return is_measured(models) and reported_of(run.report) == stored_fingerprint(run.measures)


# ---- all of them


def discover(
    discoveries: Sequence[Discovery],
    speed: Speed,
    loaded: Loaded,
    *,
    replace: bool = False,
    engine: Engine = in_turn,
) -> Iterator[Event]:
    """All concepts, one after another."""
    failed: set[Discovery] = set()
    for discovery, ended in prepare(discoveries, speed, loaded, replace=replace):
        failed.add(discovery)
        yield discovery, ended
    work = partial(discover_concept, speed=speed, loaded=loaded, replace=replace, engine=engine)
    yield from run([discovery for discovery in discoveries if discovery not in failed], work)


def run(discoveries: Sequence[Discovery], work: Work) -> Iterator[Event]:
    """Do the discoveries in turn. One that fails is told of and the rest are done; a full disk ends it all.

    What another process holds is passed over, and tried again after the last, as long as that finds something to do:
    the other may have been lost meanwhile.
    """
    left = list(discoveries)
    while left:
        held: list[Discovery] = []
        for discovery in left:
            try:
                with closing(work(discovery)) as records:
                    for progress in records:
                        yield discovery, progress
            except Held:
                held.append(discovery)
            except DiskFull:
                raise
            except Exception as error:
                yield discovery, Ended.by(error)
            else:
                yield discovery, Ended()
        if len(held) == len(left):
            yield from ((discovery, Ended(held=True)) for discovery in held)
            return
        left = held


def prepare(
    discoveries: Iterable[Discovery], speed: Speed, loaded: Loaded, *, replace: bool = False
) -> Iterator[Event]:
    """Put the settings and encoded prompts of all concepts into their folders, so that text encoders are loaded once,
    and that whatever cannot be used is told of at the start. Yields what failed."""
    due = [discovery for discovery in discoveries if not _has_texts(discovery, speed, loaded)]
    if not due:
        return
    with Models(due[0].settings, speed, RunFolder(due[0].folder), loaded).backbone.keeping_text_encoders():
        for discovery in due:
            try:
                with RunFolder(discovery.folder).open_for_writing() as run:
                    begin(discovery.settings, speed, run, replace=replace, loaded=loaded)
            except (Held, DiskFull):
                continue  # another is at it; or there may be room when its turn comes
            except SliderSpaceError as error:
                yield discovery, Ended.by(error)


def _has_texts(discovery: Discovery, speed: Speed, loaded: Loaded) -> bool:
    with suppress(BadInput):  # `begin` says so
        models = models_for(discovery.settings, speed, RunFolder(discovery.folder), loaded)
        return is_done(models.run.texts, texts.stamp(models.point.text_identity, models.settings.prompts))
    return False


# ---- where they are


def stage_of(discovery: Discovery, speed: Speed, loaded: Loaded) -> Stage:
    """The stage that a concept is in, by what its folder holds of these very settings."""
    with suppress(BadInput):  # its turn says so
        models = models_for(discovery.settings, speed, RunFolder(discovery.folder), loaded)
        run, prints = models.run, models.prints
        if is_reported(models):
            return "done"
        if run.find(run.sliders.name, prints.trained):
            return "measuring"
        if run.find(run.directions.name, prints.fitted):
            return "training"
        if any(shard.is_done() for shard in models.shards):
            return "sampling"
    return "new"


def furthest_first(discoveries: Iterable[Discovery], stages: Mapping[Discovery, Stage]) -> list[Discovery]:
    """The order in which most is finished soonest."""
    return sorted(discoveries, key=lambda discovery: -STAGES.index(stages[discovery]))
