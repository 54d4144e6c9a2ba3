"""A stream of `Progress` records -> a line a stage: live on a terminal, every few seconds in a log."""

import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.text import Text

from sliderspace.core.text import shown

if TYPE_CHECKING:
    from sliderspace.engine.progress import Progress

EVERY_S = 5.0  # between two lines of a log
WINDOW = 100  # records that the time left is worked out from: a stage need not go at one pace
AT_ONCE_S = 0.01
BAR = 24  # characters
NARROW = 70  # columns below which there is no room for a bar

Clock = Callable[[], float]


class Stage:
    """How far one stage is, since when, and how long it will take."""

    def __init__(self, name: str, clock: Clock) -> None:
        self.name, self.clock, self.began = name, clock, clock()
        self.done, self.total, self.note = 0, 1, ""
        # What was done by a run before comes at once, and tells no pace: counted is from the last of that.
        self.records: deque[tuple[float, int]] = deque(maxlen=WINDOW)
        self.seen = False

    def update(self, record: "Progress") -> None:
        self.done, self.total, self.note = record.done, record.total, " ".join(shown(record.note).split())
        now = self.clock()
        if len(self.records) == 1 and now - self.records[0][0] < AT_ONCE_S:
            self.records.clear()
        if self.seen:
            self.records.append((now, record.done))
        self.seen = True

    @property
    def ended(self) -> bool:
        return self.done >= self.total

    @property
    def percent(self) -> int:
        """Rounded down: 100 is the end."""
        return 100 * min(self.done, self.total) // max(self.total, 1)

    def seconds_left(self) -> float | None:
        """None where nothing is known of it."""
        if self.ended or len(self.records) < 2:
            return None
        (start, before), (now, done) = self.records[0], self.records[-1]
        return (self.total - done) * (now - start) / (done - before) if done > before else None

    def time(self, wide: bool) -> str:
        left = self.seconds_left()
        took = duration(self.clock() - self.began)
        if left is None:
            return took
        return f"{took}, {duration(left)} left" if wide else f"{duration(left)} left"

    def line(self, columns: int) -> str:
        """The stage in one line of at most so many columns: name, count, share, time; a bar and the note where they
        fit."""
        parts = [f"{self.name:<8}", f"{f'{self.done}/{self.total}':>9}", f"{self.percent:>3} %"]
        wide = columns >= NARROW
        if wide:
            filled = BAR * self.percent // 100
            parts.insert(1, "━" * filled + "╌" * (BAR - filled))
        line = " ".join((*parts, self.time(wide)))
        room = columns - len(line) - 2
        note = self.note if len(self.note) <= room else f"{self.note[: room - 1]}…"
        return f"{line}  {note}" if self.note and room > 10 else line[:columns]

    def entry(self) -> str:
        """The stage as a line of a log."""
        left = self.seconds_left()
        said = [f"{self.name} {self.done}/{self.total} ({self.percent} %)"]
        said += [f"{duration(left)} left"] if left is not None else []
        said += [f"took {duration(self.clock() - self.began)}"] if self.ended else []
        return ", ".join(said) + (f": {self.note}" if self.note else "")


def duration(seconds: float) -> str:
    """35 s, 4 min 5 s, 25 min, 2 h 10 min, 14 h: as exact as helps."""
    whole = round(seconds)
    for unit, name, part, less in ((3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= unit:
            rest = f" {whole % unit // part} {less}" if whole < 10 * unit else ""
            return f"{whole // unit} {name}{rest}"
    return f"{whole} s"


def watch(records: "Iterable[Progress]", *, quiet: bool = False) -> None:
    """Consume the records, writing on stderr (so that stdout stays the answer); `quiet` writes nothing."""
    console = Console(stderr=True)
    if quiet:
        for _ in records:
            pass
    elif console.is_terminal:
        draw(records, console)
    else:
        log(records, lambda line: print(line, file=sys.stderr, flush=True))


def draw(records: "Iterable[Progress]", console: Console, clock: Clock = time.monotonic) -> None:
    """One live line for the stage that runs; those before it stay above, each with its note where that did not fit."""
    now: list[Stage] = []

    def current() -> Text:
        return fitting(now[-1].line(console.width)) if now else Text("")

    def leave(stage: Stage) -> None:
        console.print(fitting(stage.line(console.width)))
        if not stage.line(console.width).endswith(stage.note):
            console.print(Text(f"  {stage.note}"))

    with Live(console=console, transient=True, get_renderable=current), leaving(now, leave):
        for record in records:
            if not now or now[-1].name != record.stage:
                if now:
                    leave(now.pop())
                now.append(Stage(record.stage, clock))
            now[-1].update(record)


@contextmanager
def leaving(now: list[Stage], leave: Callable[[Stage], None]) -> Generator[None, None, None]:
    """However it ends, the last line stays, and says how far the stage was."""
    try:
        yield
    finally:
        if now:
            leave(now.pop())


def fitting(line: str) -> Text:
    return Text(line, no_wrap=True, overflow="crop")


def log(records: "Iterable[Progress]", write: Callable[[str], None], clock: Clock = time.monotonic) -> None:
    """Plain lines, each complete when written: at the start and the end of a stage, and every few seconds between."""
    stage: Stage | None = None
    written_s = 0.0
    for record in records:
        due = clock() - written_s >= EVERY_S
        if stage is None or stage.name != record.stage:
            stage, due = Stage(record.stage, clock), True
        ended = stage.ended
        stage.update(record)
        if due or (stage.ended and not ended):
            write(stage.entry())
            written_s = clock()
