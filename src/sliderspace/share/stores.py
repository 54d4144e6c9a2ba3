"""A whole run folder on an object store: any file system that fsspec knows, such as s3://, gs://, az:// or file://.

Unlike what the Hub gets (`hub`), this is the run itself, trajectories and all: pulled, it goes on where it was.
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any

from sliderspace.core.errors import BadInput, SliderSpaceError
from sliderspace.core.text import is_unsafe, shown
from sliderspace.share.incoming import CHECKED, incoming, kept
from sliderspace.storage.atomic import replacing
from sliderspace.storage.run_folder import PUBLISHING, RunFolder

PULLED = {".json", ".safetensors"}  # no page that a browser would run: `sliderspace report` writes it again


def is_url(place: str) -> bool:
    return "://" in place


def push(folder: str | Path, url: str) -> int:
    """Copy the files of a run to a folder of an object store, space.json last; returns how many.

    Files are whole or not there, so a run may go on meanwhile: what it changed is sent once more. Raises BadInput: no
    run, an unknown kind of address. SliderSpaceError: it cannot be reached or written.
    """
    run = RunFolder(folder)
    run.check_exists()
    sent: dict[Path, int] = {}
    with _explained(url):
        files, root = _opened(url)
        for path in chain(_in_order(run), _in_order(run)):
            with _may_vanish(path):
                if sent.get(path) != (written := path.stat().st_mtime_ns):
                    _send(files, path, f"{root}/{path.relative_to(run.root).as_posix()}")
                    sent[path] = written
    return len(sent)


def pull(url: str, folder: str | Path) -> int:
    """Copy a run from an object store into a folder that is new, empty, or of a run; returns how many files.

    Only JSON and safetensors are taken; names and presets of the same sliders in `folder` stay. Raises BadInput: no run
    there, another run or other files in `folder`, or a name that leads out of it, before anything is written.
    SliderSpaceError: it cannot be reached.
    """
    with _explained(url):
        files, root = _opened(url)
        listed = ((name, size) for name, size in _listed(files, root) if PurePosixPath(name).suffix in PULLED)
        found = {_inside(name, root): (name, size) for name, size in listed}
        found.pop(PurePosixPath(PUBLISHING), None)
        if PurePosixPath("config.json") not in found:
            raise BadInput(f"{url} holds no run that `sliderspace push` copied there")

        def fetch(target: Path) -> None:
            for path in map(PurePosixPath, CHECKED):
                if path in found:
                    files.get_file(found[path][0], str(target / path))

        theirs = incoming(url, fetch)
        with RunFolder(folder).open_for_writing() as run:
            own = kept(run, theirs)
            found = {path: about for path, about in found.items() if str(path) not in own}
            for path, (name, size) in found.items():
                target = run.root / path
                target.parent.mkdir(parents=True, exist_ok=True)
                with replacing(target, size) as temporary:
                    files.get_file(name, str(temporary))
    return len(found)


def _in_order(run: RunFolder) -> Iterator[Path]:
    """The files of a run as they are now, its space.json last: it says what the others are."""
    yield from sorted(_own_files(run.root), key=lambda path: (path == run.space, path))


@contextmanager
def _may_vanish(path: Path) -> Generator[None]:
    """Within the block a run that goes on may move a file to its place, or need it no more."""
    try:
        yield
    except FileNotFoundError:
        if path.exists():
            raise


def _send(files: Any, path: Path, target: str) -> None:
    files.makedirs(target.rpartition("/")[0], exist_ok=True)
    files.put_file(str(path), target)


def _own_files(folder: Path) -> Iterator[Path]:
    """All but locks, what is half-written, what other programs keep in hidden folders, and names that no run has."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return (path for path in found if _is_of_a_run(path.relative_to(folder).as_posix()))


def _opened(url: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    files, root = url_to_fs(url)
    return files, str(root).rstrip("/")


def _listed(files: Any, root: str) -> list[tuple[str, int]]:
    found: dict[str, dict[str, Any]] = files.find(root, detail=True)
    return [(name, int(about.get("size") or 0)) for name, about in found.items()]


def _inside(name: str, root: str) -> PurePosixPath:
    """The place of a file below the folder. BadInput where its name leads anywhere else, or hides something."""
    relative = name.removeprefix(f"{root}/")
    if relative == name or not _is_of_a_run(relative):
        raise BadInput(f"there is a file called {shown(name)[:80]} there, which is none of a run; nothing was fetched")
    return PurePosixPath(relative)


def _is_of_a_run(relative: str) -> bool:
    """Whether a name below the folder hides nothing and leads nowhere else, on any system."""
    parts = relative.split("/")
    hidden = any(part.startswith(".") or not part or set(part) & set("\\:") for part in parts)
    return not (hidden or any(map(is_unsafe, relative)))


@contextmanager
def _explained(url: str) -> Generator[None]:
    """What fsspec and its file systems raise, in one line that says what to do."""
    try:
        yield
    except SliderSpaceError:
        raise
    except ImportError as error:  # the package of this kind of store
        raise BadInput(f"{url}: {str(error).splitlines()[0]}") from error
    except FileNotFoundError as error:
        raise BadInput(f"there is nothing at {url}") from error
    except ValueError as error:
        raise BadInput(f"{url} cannot be used: {str(error).splitlines()[0]}") from error
    except Exception as error:  # each store has errors of its own, of no common class
        said = (str(error) or type(error).__name__).splitlines()[0]
        raise SliderSpaceError(f"{url} cannot be reached or used: {said}") from error
