"""Progress on terminals of 40, 80 and 120 columns, and in a file."""

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import pytest
from rich.console import Console

from sliderspace.engine import bars

FIT = "16 directions hold 35% of the variance; 3.1% is only the step, at most 9% of one direction"


@dataclass(frozen=True)
class Record:
    stage: str
    done: int
    total: int
    note: str = ""


class Clock:
    """Seconds that pass only when they are told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now

    def passing(self, records: list[Record], seconds: float) -> Iterator[Record]:
        for record in records:
            yield record
            self.now += seconds


def discovery() -> list[Record]:
    return [
        *(Record("sample", done, 1062) for done in (*range(0, 1062, 64), 1062)),
        *(Record("fit", 0, 1), Record("fit", 1, 1, FIT)),
        *(Record("train", done, 300, f"held-out alignment {done / 1000:.3f}") for done in range(0, 301, 5)),
        *(Record("measure", done, 32, "natural units") for done in range(33)),
    ]


def stage_after(records: list[Record], seconds: float = 2.0) -> bars.Stage:
    clock = Clock()
    stage = bars.Stage(records[0].stage, clock)
    for record in clock.passing(records, seconds):
        stage.update(record)
    return stage


@pytest.mark.parametrize("columns", [40, 80, 120])
@pytest.mark.parametrize("stage", ["sample", "fit", "train", "measure"])
def test_a_line_fits_and_keeps_what_matters(columns: int, stage: str) -> None:
    records = [r for r in discovery() if r.stage == stage]
    for count in range(1, len(records) + 1):
        line, last = stage_after(records[:count]).line(columns), records[count - 1]
        assert len(line) <= columns
        assert stage in line and f"{last.done}/{last.total}" in line and " %" in line
        assert " s" in line or " min" in line
        assert (bars.BAR * "╌" in line or "━" in line) == (columns >= bars.NARROW)
        assert count < 4 or last.done == last.total or " left" in line


def test_a_note_stands_whole_where_it_fits_and_is_cut_where_not() -> None:
    stage = stage_after([Record("fit", 0, 1), Record("fit", 1, 1, FIT)])
    assert stage.line(200).endswith(FIT)
    assert stage.line(100).endswith("…") and FIT not in stage.line(100)


def drawn(columns: int, records: list[Record]) -> list[str]:
    """The lines that stay on a terminal of that width."""
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=columns, legacy_windows=False)
    clock = Clock()
    bars.draw(clock.passing(records, 1.0), console, clock)
    return written.getvalue().splitlines()


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_a_terminal_keeps_a_line_for_every_stage(columns: int) -> None:
    kept = "\n".join(drawn(columns, discovery()))
    for stage, total in (("sample", 1062), ("fit", 1), ("train", 300), ("measure", 32)):
        assert f"{stage:<8}" in kept and f"{total}/{total}" in kept
    assert "held-out alignment 0.300" in kept.replace("\n", " ")
    assert all(word in kept for word in FIT.split()), "what did not fit beside the bar is below it"


def test_a_terminal_keeps_the_line_of_a_stage_that_fails() -> None:
    def failing() -> Iterator[Record]:
        yield from [Record("train", 0, 300), Record("train", 7, 300)]
        raise KeyboardInterrupt

    written = io.StringIO()
    with pytest.raises(KeyboardInterrupt):
        bars.draw(failing(), Console(file=written, force_terminal=True, width=80, legacy_windows=False))
    assert "7/300" in written.getvalue()


def logged(records: list[Record], seconds: float) -> list[tuple[float, str]]:
    clock, lines = Clock(), []
    bars.log(clock.passing(records, seconds), lambda line: lines.append((clock.now, line)), clock)
    return lines


def test_a_log_has_the_start_and_the_end_of_every_stage_and_little_between() -> None:
    lines = logged(discovery(), 1.0)
    for stage, total in (("sample", 1062), ("fit", 1), ("train", 300), ("measure", 32)):
        own = [line for _, line in lines if line.startswith(f"{stage} ")]
        assert own[0].startswith(f"{stage} 0/{total} (0 %)")
        assert own[-1].startswith(f"{stage} {total}/{total} (100 %), took")
    between = [when for when, line in lines if "(0 %)" not in line and "(100 %)" not in line]
    assert between and all(later - earlier >= bars.EVERY_S for earlier, later in pairwise(between))
    assert any(line.startswith("sample 320/1062 (30 %), 12 s left") for _, line in lines), lines
    assert all("\n" not in line and line.isprintable() for _, line in lines)


def test_the_time_left_is_that_of_the_pace_now_not_of_what_was_there_already() -> None:
    """Half of the stage was done by a run before: it comes in the second record, or in many at once."""
    resumed = [Record("train", 0, 300), *(Record("train", done, 300) for done in range(150, 160))]
    assert stage_after(resumed, 2.0).seconds_left() == pytest.approx(2.0 * (300 - 159))
    assert stage_after(resumed[:2]).seconds_left() is None

    clock = Clock()
    stage = bars.Stage("sample", clock)
    for done in range(0, 501, 100):
        stage.update(Record("sample", done, 1000))
    for done in (600, 700):
        clock.now += 10
        stage.update(Record("sample", done, 1000))
    assert stage.seconds_left() == pytest.approx(30)


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (59.6, "1 min 0 s"), (245, "4 min 5 s"), (7800, "2 h 10 min")]
)
def test_durations(seconds: float, words: str) -> None:
    assert bars.duration(seconds) == words


def test_notes_cannot_steer_a_terminal() -> None:
    stage = stage_after([Record("study", 0, 2, "a \x1b[31mred\u202e\nrobot")])
    assert (
        "\n" not in stage.entry()
        and "\x1b" not in stage.line(120)
        and "\u202e" not in stage.entry()
        and "␛[31mred" in stage.line(120)
    )


SCRIPT = """
import os
from tests.engine.test_bars import Record
from sliderspace.engine.bars import watch
def records():
    yield Record("sample", 0, 10)
    yield Record("sample", 10, 10)
    yield Record("train", 0, 10)
    os._exit(9)  # as killed: nothing is flushed on the way out
watch(records(), quiet={quiet})
"""


@pytest.mark.parametrize("quiet", [False, True])
def test_a_killed_run_leaves_its_log(quiet: bool) -> None:
    here = os.path.dirname(__file__)  # noqa: PTH120
    script = SCRIPT.format(quiet=quiet).replace("tests.engine.test_bars", "test_bars")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([here, os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, "-c", script], text=True, capture_output=True, env=environment)
    assert done.returncode == 9
    lines = done.stderr.splitlines()
    assert lines == ([] if quiet else ["sample 0/10 (0 %)", "sample 10/10 (100 %), took 0 s", "train 0/10 (0 %)"])
