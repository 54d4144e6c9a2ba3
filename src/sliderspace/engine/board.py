"""The events of a catalogue -> a table that grows by a line a concept, with the stage that runs and the whole below it;
in a log the lines alone."""

import sys
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live

from sliderspace.core.text import shown
from sliderspace.engine.bars import Clock, Stage, duration, fitting
from sliderspace.engine.progress import Progress

if TYPE_CHECKING:
    from sliderspace.engine.catalogue import Ended, Event

LOG_EVERY_S = 60.0  # between two lines of a log that say how far a concept is
STAGE = 36  # columns that a stage needs beside the name of its concept


class Board:
    """What is known of the concepts that are done or under way."""

    def __init__(self, already: int, total: int, clock: Clock) -> None:
        self.clock = clock
        self.whole = Stage("catalogue", clock)
        self.ended, self.total = already, total
        self.whole.update(Progress("catalogue", already, total))
        self.concept = ""
        self.stage: Stage | None = None
        self.began = clock()

    def update(self, name: str, record: "Progress | Ended") -> str | None:
        """The line that a concept leaves, where the record is its last."""
        if name != self.concept:
            self.concept, self.stage, self.began = name, None, self.clock()
        if not isinstance(record, Progress):
            return self._end(record)
        if self.stage is None or self.stage.name != record.stage:
            self.stage = Stage(record.stage, self.clock)
        self.stage.update(record)
        return None

    def _end(self, record: "Ended") -> str:
        self.ended += 1
        self.whole.update(Progress("catalogue", self.ended, self.total))
        took = duration(self.clock() - self.began)
        self.stage = None
        state = "held" if record.held else "failed" if record.failed else "done"
        reason = "another process has it" if record.held else record.failed
        return f"{state:<6} {took:>10}  {shown(self.concept)}" + (f": {reason}" if reason else "")

    def lines(self, columns: int) -> list[str]:
        """The concept and its stage, and the whole: a line each of at most so many columns."""
        whole = self.whole.line(columns)
        if self.stage is None:
            return [whole]
        name = shown(self.concept)[: max(columns - STAGE, 0)]
        return [f"{name} {self.stage.line(columns - len(name) - 1)}", whole]

    def entry(self) -> str:
        """How far it is, as a line of a log."""
        stage = f"{shown(self.concept)}: {self.stage.entry()}; " if self.stage else ""
        return stage + self.whole.entry()


def watch(events: "Iterable[Event]", already: int, total: int, *, quiet: bool = False) -> dict[str, "Ended"]:
    """Consume the events, writing on stderr; returns how each concept ended. `already` of `total` were done before."""
    console, board = Console(stderr=True), Board(already, total, time.monotonic)
    if quiet:
        return follow(events, board, lambda line: None, lambda: None)
    if console.is_terminal:
        return draw(events, board, console)
    return log(events, board, lambda line: print(line, file=sys.stderr, flush=True))


def draw(events: "Iterable[Event]", board: Board, console: Console) -> dict[str, "Ended"]:
    """A live line for the stage and one for the whole, below those of the concepts that are done."""

    def current() -> Group:
        return Group(*(fitting(line) for line in board.lines(console.width)))

    with Live(console=console, transient=True, get_renderable=current), _leaving(board, console):
        return follow(events, board, lambda line: console.print(line, markup=False, highlight=False), lambda: None)


@contextmanager
def _leaving(board: Board, console: Console) -> Generator[None]:
    """However it ends, the last line says how far it was."""
    try:
        yield
    finally:
        console.print(fitting(board.lines(console.width)[-1]))


def log(events: "Iterable[Event]", board: Board, write: Callable[[str], None]) -> dict[str, "Ended"]:
    """Plain lines, each complete when written: one a concept, and every minute how far it is."""
    written_s = board.clock()

    def due() -> None:
        nonlocal written_s
        if board.clock() - written_s >= LOG_EVERY_S:
            write(board.entry())
            written_s = board.clock()

    ended = follow(events, board, write, due)
    write(board.entry())
    return ended


def follow(
    events: "Iterable[Event]", board: Board, leave: Callable[[str], None], between: Callable[[], None]
) -> dict[str, "Ended"]:
    """How each concept ended: `leave` is given the line of each, and `between` is called after every other event."""
    ended: dict[str, Ended] = {}
    for discovery, record in events:
        if (line := board.update(discovery.name, record)) is not None:
            ended[discovery.name] = record  # type: ignore[assignment]
            leave(line)
        else:
            between()
    return ended
