"""The places of one run, the lock of whoever writes to it, and the change from the last whole space to the next."""

import shutil
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from shlex import quote
from typing import Any, Self, cast

from filelock import FileLock, Timeout

from sliderspace.core.errors import BadInput, Held
from sliderspace.storage.atomic import explained, flush_folder, move, remove_stale
from sliderspace.storage.files import exists, is_done, load_json, save_json, stored_fingerprint
from sliderspace.storage.locks import holding, take
from sliderspace.storage.stamps import damaged

PUBLISHING = "unfinished/publishing.json"  # what a `publish` is at: nothing to take from elsewhere
ASKING = 2.0  # seconds a worker waits for a lock that others only ask about


class Places:
    """The files of one space, whole or being made."""

    def __init__(self, root: Path):
        self.root = root
        self.config = root / "config.json"
        self.directions = root / "directions.safetensors"
        self.observability = root / "observability.json"
        self.sliders = root / "sliders.safetensors"
        self.sliders_parts = root / "sliders.partial"  # a folder: what training has made so far
        self.measuring = root / "measure"  # a folder: what measuring has made so far
        self.space = root / "space.json"
        self.measures = root / "measures.json"
        # Small pictures of every slider and of the base model, for the report.
        self.strips = root / "strips.safetensors"

    def parts(self) -> list[Path]:
        """The files that a whole space may replace."""
        made = [self.directions, self.observability, self.sliders, self.measures, self.strips]
        return [self.config, *made, self.space]


class RunFolder(Places):
    """The places of one run. Reading needs no ceremony; whoever writes holds the folder:

    with RunFolder("out").open_for_writing() as folder: ...

    The folder itself holds the last whole space; the next is made in `unfinished` and takes its place by `publish`.
    """

    def __init__(self, root: str | Path):
        super().__init__(root := Path(root))
        self.unfinished = Places(root / "unfinished")
        self.texts = root / "texts.safetensors"  # the encoded prompts: large text encoders are loaded once a run
        self.pairs = root / "pairs.safetensors"  # those of sliders asked for in words
        self.captions = root / "captions.safetensors"  # those of a person's own pictures
        self.trajectories = root / "trajectories"  # a folder, made when the run folder is opened for writing
        self.sliders_partial = root / "sliders.partial.safetensors"  # an unfinished training continues from here
        self.evaluation = root / "evaluation.json"
        self.report = root / "report.html"
        self.labels = root / "labels.json"  # the sliders' names
        self.explore = root / "explore.json"  # presets, and what is hidden in the app
        self.lock = root / ".sliderspace.lock"  # also what marks a folder as ours before anything else is in it
        self._publishing = root / PUBLISHING
        self._held: FileLock | None = None

    @property
    def typed(self) -> str:
        """Its path as a shell takes it: what an advice says is pasted."""
        return quote(str(self.root))

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
                f"{self.root} is not the folder of a run.\n"
                f"Make one with: sliderspace discover PROMPT --out {self.typed}"
            )

    # ---- writing

    def open_for_writing(self, share: tuple[int, int] = (0, 1)) -> Self:
        """Create the folder if need be, take its lock, clear what killed runs left half-written, and end a `publish`
        that was broken off.

        With `share` = (i, n) it is held as worker i of n: beside the others of them, and beside nobody else.

        BadInput if it cannot be written, is a file, or holds other people's files; Held if another run holds it.
        """
        if self._held is None:
            try:
                self._claim(share)
            except BaseException as error:
                self.close()
                if isinstance(error, OSError | ValueError):
                    raise explained(error, self.root) from error
                raise
        return self

    def _claim(self, share: tuple[int, int]) -> None:
        if self.root.exists() and not self.root.is_dir():
            raise BadInput(f"{self.root} is a file, and a run needs a folder.\nChoose another name with --out.")
        self.root.mkdir(parents=True, exist_ok=True)
        if not self.is_ours() and any(not entry.name.startswith(".") for entry in self.root.iterdir()):
            raise BadInput(
                f"{self.root} already holds other files.\nChoose a new or empty folder with --out; nothing was changed."
            )
        self._take_lock(share)
        if exists(self._publishing):
            with self.gathering():  # another worker may be at it just now
                self._end_publishing()  # it removes `unfinished` whole
        for place in (self.trajectories, self.unfinished.sliders_parts, self.unfinished.measuring):
            place.resolve().mkdir(parents=True, exist_ok=True)  # where it links to, if that was cleared away
        for folder in (self, self.unfinished):
            for place in (folder.root, folder.sliders_parts, folder.measuring):
                remove_stale(place)
        remove_stale(self.trajectories)

    def _take_lock(self, share: tuple[int, int]) -> None:
        worker, workers = share
        alone = workers == 1
        own = self.lock if alone else self.root / f".worker-{worker}-of-{workers}.lock"
        beside = [] if alone else [self.lock]
        beside += [path for path in self.root.glob(".worker-*.lock") if alone or not path.match(f"*-of-{workers}.lock")]
        try:
            self._held = take(own, timeout=0)  # first: of two that begin at once one has to see the other
            for path in beside:  # which another worker that begins now holds for a moment, to ask the same
                take(path, timeout=0 if alone else ASKING).release()
        except Timeout:
            if self._held:
                self._held.release()
                self._held = None  # `close` would tidy up where the other one works
            raise Held(
                f"another run is writing to {self.root}.\nWait until it ends, or choose another folder with --out."
            ) from None

    def close(self) -> None:
        """Let others write. The system does the same when the process ends, however it ends."""
        if self._held is not None:
            if self._held.lock_file == str(self.lock):  # another worker may be about to write there
                self._remove_if_empty()
            self._held.release()
            self._held = None

    def _remove_if_empty(self) -> None:
        """Without `unfinished`, and the folders in it, where nothing was left unfinished."""
        for place in (self.unfinished.sliders_parts, self.unfinished.measuring, self.unfinished.root):
            with suppress(OSError):
                place.rmdir()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def gathering(self) -> Generator[None]:
        """Within the block no other worker of this folder puts its parts together."""
        with holding(self.root / ".gathering.lock"):
            yield

    # ---- from one space to the next

    def find(self, name: str, fingerprint: str) -> Path | None:
        """The file `name` that was made from `fingerprint`, of the whole space or of the unfinished one; None if there
        is none. DamagedFile when neither is it and one cannot be read."""
        failure: BadInput | None = None
        for path in (self.root / name, self.unfinished.root / name):
            try:
                if is_done(path, fingerprint):
                    return path
            except BadInput as error:
                failure = failure or error
        if failure:
            raise failure
        return None

    def whole_space(self) -> dict[str, Path] | None:
        """The files of the last whole space: "space", and by name those its space.json says it was made from; None
        if there is no whole one. Also while a `publish` is under way, or was broken off."""
        for space in (self.space, self.unfinished.space):
            if exists(space):
                listed: object = load_json(space, kind="space").get("made_from")
                made_from = cast("dict[str, Any]", listed) if isinstance(listed, dict) else {}
                made_from = {name: made for name, made in made_from.items() if made is not None}
                found = {name: self._part(name, made) for name, made in made_from.items()}
                if found and None not in found.values():
                    return {"space": space, **cast("dict[str, Path]", found)}
        return None

    def _part(self, name: str, made_from: str) -> Path | None:
        place: object = getattr(self.unfinished, name, None)
        return self.find(place.name, made_from) if isinstance(place, Path) else None

    def publish(self, names: Sequence[str]) -> None:
        """Let the unfinished files of these names take the places of the whole space's, space.json last. Those not
        there are passed over: what did not change was not made again.

        Whoever reads meanwhile gets the old space or the new one. Broken off, it is ended by the next
        `open_for_writing`.
        """
        last = self.space.name
        ordered = [*(name for name in names if name != last), *(name for name in names if name == last)]
        save_json(self._publishing, {"names": ordered}, kind="publishing", fingerprint="")
        try:
            self._end_publishing()
        except OSError as error:
            raise explained(error, self.root) from error

    def _end_publishing(self) -> None:
        if not exists(self._publishing):
            return
        names: object = load_json(self._publishing, kind="publishing").get("names")
        known = [place.name for place in self.parts()]
        if not isinstance(names, list) or any(name not in known for name in cast("list[object]", names)):
            raise damaged(self._publishing)
        for name in cast("list[str]", names):
            if (made := self.unfinished.root / name).exists():
                move(made, self.root / name)
        flush_folder(self.root)
        flush_folder(self.unfinished.root)
        shutil.rmtree(self.unfinished.root.resolve())  # where it links to
