"""The places of one run, and the lock of whoever writes to it."""

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from sliderspace.core.errors import BadInput, SliderSpaceError

if TYPE_CHECKING:
    pass
from sliderspace.storage.files import TEMPORARY, exists, explained, forget, stored_fingerprint


class RunFolder:
    """The places of one run. Reading needs no ceremony; whoever writes holds the folder:

    with RunFolder("out").open_for_writing() as folder: ...
    """

    def __init__(self, root: str | Path):
        self.root = root = Path(root)
        self.config = root / "config.json"
        self.texts = root / "texts.safetensors"  # the encoded prompts: large text encoders are loaded once a run
        self.captions = root / "captions.safetensors"  # those of a person's own pictures
        self.trajectories = root / "trajectories"  # a folder, made when the run folder is opened for writing
        self.directions = root / "directions.safetensors"
        self.sliders = root / "sliders.safetensors"
        self.sliders_partial = root / "sliders.partial.safetensors"  # an unfinished training continues from here
        self.space = root / "space.json"
        self.measures = root / "measures.json"
        self.evaluation = root / "evaluation.json"
        self.strips = (
            root / "strips.safetensors"
        )  # small pictures of every slider and of the base model, for the report
        self.report = root / "report.html"
        self.lock = root / ".sliderspace.lock"  # also what marks a folder as ours before anything else is in it
        self._lock: int | None = None

    def is_ours(self) -> bool:
        if exists(self.lock):
            return True
        with suppress(BadInput):  # copied without its hidden files, perhaps
            return stored_fingerprint(self.config) is not None
        return False

    def check_exists(self) -> None:
        """BadInput unless this is the folder of a run."""
        if not self.is_ours():
            raise BadInput(
                f"{self.root} is not the folder of a run.\nMake one with: sliderspace discover PROMPT --out {self.root}"
            )

    def open_for_writing(self) -> Self:
        """Create the folder if need be, take its lock and clear what killed runs left half-written.

        BadInput if it cannot be written, is a file, or holds other people's files; SliderSpaceError if another run
        holds it.
        """
        if self._lock is None:
            try:
                self._claim()
            except (OSError, ValueError) as error:
                self.close()
                raise explained(error, self.root, 0) from error
            remove_stale(self.root)
            remove_stale(self.trajectories)
        return self

    def _claim(self) -> None:
        if self.root.exists() and not self.root.is_dir():
            raise BadInput(f"{self.root} is a file, and a run needs a folder.\nChoose another name with --out.")
        self.root.mkdir(parents=True, exist_ok=True)
        if not self.is_ours() and any(not entry.name.startswith(".") for entry in self.root.iterdir()):
            raise BadInput(
                f"{self.root} already holds other files.\nChoose a new or empty folder with --out; nothing was changed."
            )
        self._lock = os.open(self.lock, os.O_RDWR | os.O_CREAT, 0o644)
        if not _try_lock(self._lock):
            self.close()
            raise SliderSpaceError(
                f"another run is writing to {self.root}.\nWait until it ends, or choose another folder with --out."
            )
        self.trajectories.mkdir(exist_ok=True)

    def close(self) -> None:
        """Let others write. The system does the same when the process ends, however it ends."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def remove_stale(folder: Path) -> None:
    """Delete temporary files of processes that are gone (`generate` may be writing into a folder nobody holds)."""
    for path in list(folder.iterdir()):
        match = TEMPORARY.fullmatch(path.name)
        if match and (int(match[1]) == os.getpid() or not _alive(int(match[1]))):
            forget(path)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it belongs to someone else
        pass
    return True


def _try_lock(handle: int) -> bool:
    """False if another process holds the lock. A file system without locks counts as free: better than no run at all
    there."""
    if sys.platform == "win32":
        import msvcrt

        with suppress(OSError):
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
            return True
        return False
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
