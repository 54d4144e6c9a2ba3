"""Many concepts, a run folder each: discovered one after another, by any number of processes on one catalogue folder.

The work on a concept is a function of its settings and folder, so any engine may map over the tasks of a catalogue.
Processes share it by the locks of the run folders alone: what another one holds is passed over.
"""

import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sliderspace.core.errors import DamagedFile, DiskFull, Held, SliderSpaceError
from sliderspace.core.settings import Settings, Speed
from sliderspace.core.text import shown
from sliderspace.engine import local
from sliderspace.engine.begin import begin, models_for
from sliderspace.engine.models import Loaded, Models
from sliderspace.engine.overview import STAGES, Stage
from sliderspace.engine.progress import Progress
from sliderspace.engine.stages import is_measured
from sliderspace.models import texts
from sliderspace.report.from_run import report_run, reported_of
from sliderspace.storage.files import is_done, stored_fingerprint
from sliderspace.storage.run_folder import RunFolder


@dataclass(frozen=True)
class Task:
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


Work = Callable[[Task], Generator[Progress]]
Event = tuple[Task, Progress | Ended]


# ---- one concept


def discover_concept(task: Task, speed: Speed, loaded: Loaded, *, replace: bool = False) -> Generator[Progress]:
    """Discover a concept from wherever it is to its report; nothing where that is there already.

    Raises Held where another process is at it, SliderSpaceError for whatever cannot be done.
    """
    run = RunFolder(task.folder)
    if is_reported(models_for(task.settings, speed, run, loaded)):
        return
    with run.open_for_writing():
        models, _ = begin(task.settings, speed, run, replace=replace, loaded=loaded)
        yield from local.discover(models)
        report_run(run)


def is_reported(models: Models) -> bool:
    """Whether a run of these very settings is finished, and its report is written."""
    run = models.run
    return is_measured(models) and reported_of(run.report) == stored_fingerprint(run.measures)


# ---- all of them


def discover(tasks: Sequence[Task], speed: Speed, loaded: Loaded, *, replace: bool = False) -> Iterator[Event]:
    """All concepts in this process, one after another."""
    failed: set[Task] = set()
    for task, ended in prepare(tasks, speed, loaded, replace=replace):
        failed.add(task)
        yield task, ended
    work = partial(discover_concept, speed=speed, loaded=loaded, replace=replace)
    yield from run([task for task in tasks if task not in failed], work)


def run(tasks: Sequence[Task], work: Work) -> Iterator[Event]:
    """Do the tasks in turn. One that fails is told of and the rest are done; a full disk ends it all.

    What another process holds is passed over, and tried again after the last, as long as that finds something to do:
    the other may have been lost meanwhile.
    """
    left = list(tasks)
    while left:
        held: list[Task] = []
        for task in left:
            try:
                with closing(work(task)) as records:
                    for progress in records:
                        yield task, progress
            except Held:
                held.append(task)
            except DiskFull:
                raise
            except Exception as error:
                yield task, Ended.by(error)
            else:
                yield task, Ended()
        if len(held) == len(left):
            yield from ((task, Ended(held=True)) for task in held)
            return
        left = held


def prepare(tasks: Iterable[Task], speed: Speed, loaded: Loaded, *, replace: bool = False) -> Iterator[Event]:
    """Put the settings and encoded prompts of all concepts into their folders, so that text encoders are loaded once,
    and that whatever cannot be used is told of at the start. Yields what failed."""
    due = [task for task in tasks if not _has_texts(task, speed, loaded)]
    if not due:
        return
    with Models(due[0].settings, speed, RunFolder(due[0].folder), loaded).backbone.keeping_text_encoders():
        for task in due:
            try:
                with RunFolder(task.folder).open_for_writing() as run:
                    begin(task.settings, speed, run, replace=replace, loaded=loaded)
            except (Held, DiskFull):
                continue  # another is at it; or there may be room when its turn comes
            except SliderSpaceError as error:
                yield task, Ended.by(error)


def _has_texts(task: Task, speed: Speed, loaded: Loaded) -> bool:
    with suppress(DamagedFile):  # `begin` says so
        models = models_for(task.settings, speed, RunFolder(task.folder), loaded)
        return is_done(models.run.texts, texts.stamp(models.point.text_identity, models.settings.prompts))
    return False


# ---- where they are


def stage_of(task: Task, speed: Speed, loaded: Loaded) -> Stage:
    """The stage that a concept is in, by what its folder holds of these very settings."""
    with suppress(DamagedFile):  # its turn says so
        models = models_for(task.settings, speed, RunFolder(task.folder), loaded)
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


def furthest_first(tasks: Iterable[Task], stages: Mapping[Task, Stage]) -> list[Task]:
    """The order in which most is finished soonest."""
    return sorted(tasks, key=lambda task: -STAGES.index(stages[task]))
