"""One process of a cluster: it does tasks of a run, one at a time, in the run folder or in a copy of it."""

import shutil
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

import torch

from sliderspace.core.errors import BadInput, SliderSpaceError
from sliderspace.core.settings import Settings, Speed
from sliderspace.engine.fingerprints import Fingerprints
from sliderspace.engine.models import Loaded, Models
from sliderspace.engine.tasks import Step, Task, work
from sliderspace.storage.files import is_done, save_bytes
from sliderspace.storage.locks import is_left
from sliderspace.storage.run_folder import RunFolder

COPY = "sliderspace-copy-"  # begins the name of a folder that holds a copy of a run
BEGUN = 60.0  # seconds after which a copy that nobody holds is one that was left, and not one that is being made


@dataclass(frozen=True)
class Run:
    """What a worker has to know of a run, to do tasks of it."""

    settings: Settings
    speed: Speed
    root: Path
    prints: Fingerprints

    @classmethod
    def of(cls, models: Models) -> "Run":
        return cls(models.settings, models.speed, models.run.root.absolute(), models.prints)

    def is_seen(self) -> bool:
        """Whether its folder is there, for this process too."""
        with suppress(SliderSpaceError):
            return is_done(RunFolder(self.root).config, self.prints.trained)
        return False


class Worker:
    """What it has loaded stays loaded from task to task, and from run to run. Its memory has not sufficed `halved`
    times before: it takes so often half the lanes and images at a time."""

    def __init__(self, threads: int, halved: int = 0) -> None:
        self.threads = threads
        self.halved = halved
        self.loaded = Loaded()
        self.asked: Run | None = None
        self.copy: TemporaryDirectory[str] | None = None
        self.fetched: dict[str, int] = {}  # when the driver wrote what was fetched into the copy
        self.at: tuple[Task | None, Step] = (None, (0, ""))

    def begin(self, run: Run) -> bool:
        """Be ready for tasks of a run; whether its folder is seen from here. Raises BadInput where the models here are
        not those of the driver."""
        if run != self.asked:
            self.leave()
            self.asked = None
            self.fetched = {}
            self.copy = None if run.is_seen() else _new_copy()
            folder = RunFolder(self.copy.name if self.copy else run.root)
            folder = folder.open_for_writing() if self.copy else folder
            self.models = Models(run.settings, run.speed, folder, self.loaded)
            if self.models.prints != run.prints:
                raise BadInput(
                    f"on {socket.gethostname()} the model or the pictures are not the driver's: copy them there"
                )
            for _ in range(self.halved):
                self.models.lanes.halve(self.models.lanes.size)
                self.models.batch.halve(self.models.batch.size)
            self.asked = run
        return self.copy is None

    def do(self, task: Task, given: Mapping[str, tuple[int, Any]]) -> dict[str, bytes]:
        """One task. With a copy of the folder: after fetching of the `given` files (by name: when each was written, and
        a reference) those it lacks; returns the files it made. Else none, for they are where they belong."""
        # Equal threads give equal bytes.
        torch.set_num_threads(self.threads)
        root = self.models.run.root
        self._fetch(root, given)
        before = files_of(root) if self.copy else {}
        self.at = (task, (0, ""))
        for step in work(self.models, task):
            self.at = (task, step)
        made = files_of(root).items() - before.items() if self.copy else ()
        return {name: (root / name).read_bytes() for name, _ in made}

    def look(self) -> tuple[Task | None, Step]:
        """The task it is at, and how far that is."""
        return self.at

    def leave(self) -> None:
        """Leave nothing behind."""
        if self.copy:
            self.models.run.close()
            self.copy.cleanup()

    def _fetch(self, root: Path, given: Mapping[str, tuple[int, Any]]) -> None:
        """What it lacks, or has as it was before: an earlier run's, which a new one has replaced."""
        here, kept = files_of(root), self.fetched
        due = [name for name, (written, _) in given.items() if name not in here or kept.get(name, written) != written]
        if due:
            import ray

            for name in due:
                kept[name], reference = given[name]
                save_bytes(root / name, ray.get(reference))


def _new_copy() -> TemporaryDirectory[str]:
    """A folder for a copy of a run, in the place of those that killed workers left on this machine."""
    for folder in Path(gettempdir()).glob(f"{COPY}*"):
        lock = RunFolder(folder).lock
        with suppress(OSError):  # another worker may be at it, or it is another person's
            if time.time() - lock.stat().st_mtime > BEGUN and is_left(lock):
                shutil.rmtree(folder)
    return TemporaryDirectory(prefix=COPY)


def files_of(root: Path) -> dict[str, int]:
    """The files of a run folder that tasks need or make, by name, and when each was written [ns]. Checkpoints are not
    among them: they come and go."""
    found = [*root.glob("*"), *(root / "trajectories").glob("*"), *(root / "unfinished").rglob("*")]
    kept = [
        path for path in found if path.suffix in (".safetensors", ".json") and not path.name.startswith("training-")
    ]
    return {path.relative_to(root).as_posix(): path.stat().st_mtime_ns for path in kept}
