"""A discovery that is started from the page: the command line in a process of its own, watched by its log.

Paused, stopped, or killed with the app, it leaves a folder that the same request continues.
"""

import re
import subprocess
import sys
import time
from collections import deque
from contextlib import suppress
from itertools import count
from pathlib import Path
from threading import Lock, Thread
from typing import Literal, cast

from pydantic import BaseModel, ConfigDict, Field

from sliderspace.core.errors import BadInput, SliderSpaceError
from sliderspace.core.settings import Settings
from sliderspace.core.sizes import in_words
from sliderspace.core.text import folder_name, is_blank, one_line, shown
from sliderspace.explore.mix import MOST_TEXT
from sliderspace.measure.results import SpaceFile
from sliderspace.storage.files import exists, load_json
from sliderspace.storage.run_folder import RunFolder

LINE = re.compile(r"(\w+) (\d+)/(\d+) \(\d+ %\)")  # of the log that `discover` writes where there is no terminal
STAGES = {"sample": 0.15, "fit": 0.02, "train": 0.6, "measure": 0.23}  # shares of the time, roughly
AS_BEFORE = ("encoder", "steps", "guidance", "precision", "resolution", "decoder", "quantize", "lora")  # goes on
KEPT = 40  # lines of the log
SAID = {"paused": "paused; nothing is lost", "stopped": "stopped; start it again to go on from here"}
PATIENCE_S = 10.0  # between asking a process to end and making it


class Asked(BaseModel):
    """What to discover."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: str = Field(max_length=MOST_TEXT)
    backbone: str = Field(default="mini-turbo", min_length=1, max_length=MOST_TEXT)
    sliders: int = Field(default=16, ge=1, le=256)
    samples: int = Field(default=1000, ge=2, le=100_000)
    updates: int | None = Field(default=None, ge=1, le=100_000)

    def command(self, folder: Path, like: Settings | None = None) -> list[str]:
        """The prompt comes after `--`: whatever it says, it is no option. `like` says how to work with the model."""
        counts = {"sliders": self.sliders, "samples": self.samples, "updates": self.updates}
        named = {name: getattr(like, name) for name in AS_BEFORE} if like else {}
        if like and like.resolution is not None:
            named["resolution"] = in_words(like.resolution)
        options = {"backbone": self.backbone, **named, **counts}
        words = [
            str(word) for name, value in options.items() if value not in (None, "") for word in (f"--{name}", value)
        ]
        start = [sys.executable, "-m", "sliderspace.cli", "discover", *words]
        return [*start, "--out", str(folder), "--", one_line(self.prompt)]


class State(BaseModel):
    """How far a discovery is. `share` 0 … 1 of the whole; `said` is its last line."""

    running: bool = False
    prompt: str = ""
    folder: str = ""
    share: float = 0.0
    said: str = ""
    finished: bool = False
    paused: bool = False
    stopped: bool = False


class Discovery:
    """At most one at a time. Folders are made in `base`, named after the prompt."""

    def __init__(self, base: Path):
        self.base = base
        self._lock = Lock()
        self._process: subprocess.Popen[str] | None = None
        self._lines: deque[str] = deque(maxlen=KEPT)
        self._state = State()
        self._asked: tuple[Asked, Settings | None] | None = None
        self._end: Literal["paused", "stopped"] | None = None  # how a person ended it

    def start(self, asked: Asked, like: Settings | None = None) -> Path:
        """Begin, or go on where an earlier one of this prompt was stopped; returns the folder. BadInput without a
        prompt, or while another one runs."""
        if is_blank(asked.prompt):
            raise BadInput("say what to discover, for example: a monster")
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                raise BadInput("a discovery is running: stop it first, or wait for it")
            folder = folder_for(self.base, one_line(asked.prompt))
            pipe = subprocess.PIPE
            self._lines.clear()
            self._asked, self._end = (asked, like), None
            self._process = subprocess.Popen(
                asked.command(folder, like),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=pipe,
                text=True,
                errors="replace",
            )
            self._state = State(running=True, prompt=one_line(asked.prompt), folder=str(folder), said="starting …")
            Thread(target=self._read, args=(self._process,), daemon=True).start()
        return folder

    def go_on(self) -> None:
        """Begin again what was paused. BadInput where nothing is."""
        if self._asked is None or not self.state().paused:
            raise BadInput("no discovery is paused")
        self.start(*self._asked)

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        for line in process.stderr:
            if line.strip():
                self._lines.append(shown(line.strip()))
        process.wait()

    def state(self) -> State:
        with self._lock:
            process, lines = self._process, list(self._lines)
            if process is None:
                return self._state
            code = process.poll()
            ended = None if code in (None, 0) else self._end
            told = {"running": code is None, "finished": code == 0}
            told |= {"paused": ended == "paused", "stopped": ended == "stopped"}
            share = 1.0 if code == 0 else max((share_of(line) for line in lines), default=0.0)
            said = lines[-1] if lines else self._state.said
            if code not in (None, 0):
                said = SAID[ended] if ended else "\n".join(_error(lines))
            self._state = self._state.model_copy(update={**told, "share": share, "said": said})
            return self._state

    def pause(self) -> None:
        """Free the machine until `go_on`."""
        self._let_go("paused")

    def stop(self) -> None:
        """End it; the page lets go of it, and its folder stays."""
        self._let_go("stopped")

    def _let_go(self, end: Literal["paused", "stopped"]) -> None:
        """Every file is written whole or not at all, so it may end at any moment."""
        with self._lock:
            process = self._process
            if process is None or process.poll() == 0:
                return
            running = process.poll() is None
            if running or self._end == "paused":
                self._end = end
            if not running:
                return
            process.terminate()
        until = time.monotonic() + PATIENCE_S
        while process.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        if process.poll() is None:
            process.kill()


def folder_for(base: Path, prompt: str) -> Path:
    """Where a discovery of the prompt begins or goes on. Runs of other prompts whose names come out the same are passed
    by: `a-bunny`, `a-bunny-2`, …"""
    name = folder_name([prompt])
    places = (base / (name if n == 1 else f"{name}-{n}") for n in count(1))
    return next(folder for folder in places if not _is_of_another(RunFolder(folder), prompt))


def _is_of_another(run: RunFolder, prompt: str) -> bool:
    """Whether a run holds, or is to become, something else; a damaged one is for the command to tell of."""
    with suppress(SliderSpaceError):
        asked = load_json(run.config, kind="config").get("prompts") if exists(run.config) else [prompt]
        space = SpaceFile.read(run.space) if exists(run.space) else None
        held = [prompt] if space is None else list(space.settings.prompts)
        return cast("object", asked) != [prompt] or held != [prompt] or bool(space and space.imported)
    return False


def share_of(line: str) -> float:
    """How much of the whole is done by a line of the log; 0 for a line that does not say it."""
    found = LINE.match(line)
    if found is None or found[1] not in STAGES:
        return 0.0
    names = list(STAGES)
    before = sum(STAGES[name] for name in names[: names.index(found[1])])
    return before + STAGES[found[1]] * min(int(found[2]) / max(int(found[3]), 1), 1)


def _error(lines: list[str]) -> list[str]:
    """What the command said of its failure: from its error on, else its last line."""
    at = next((i for i, line in enumerate(lines) if line.startswith("sliderspace:")), len(lines) - 1)
    return lines[max(at, 0) :][:3] or ["the discovery ended without a word"]
