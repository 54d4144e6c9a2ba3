"""A catalogue's progress on terminals of 40 and 80 columns, and in a file."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from sliderspace.core.errors import BadInput
from sliderspace.core.settings import Settings
from sliderspace.engine import board
from sliderspace.engine.catalogue import Discovery, Ended, Event
from sliderspace.engine.progress import Progress


class Clock:
    """Seconds that pass only when they are told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def events(clock: Clock) -> Iterator[Event]:
    """Four concepts, ten seconds a record: two are done, one fails, one is another's."""
    settings = Settings(prompts=("a robot",))
    ended = {
        "a-dragon": Ended(),
        "a-robot-with-a-very-long-name-indeed": Ended.by(BadInput("the prompt has 900 tokens\nand \x1b[31mmore")),
        "a-bunny": Ended(held=True),
        "a-monster": Ended(),
    }
    for name, last in ended.items():
        concept = Discovery(settings, Path("out") / name)
        for stage in ("sample", "train"):
            for done in range(0, 101, 20):
                clock.now += 10
                yield concept, Progress(stage, done, 100, "a note")
        yield concept, last


def drawn(columns: int) -> list[str]:
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=columns, legacy_windows=False, color_system=None)
    clock = Clock()
    found = board.draw(events(clock), board.Board(2, 6, clock), console)
    assert [how.held for how in found.values()] == [False, False, True, False]
    return written.getvalue().splitlines()


@pytest.mark.parametrize("columns", [40, 80])
def test_a_terminal_keeps_a_line_for_every_concept(columns: int) -> None:
    lines = drawn(columns)
    kept = " ".join("\n".join(lines).split())
    assert "done 1 min 50 s a-dragon" in kept and "held 1 min 50 s a-bunny: another process has it" in kept
    assert "failed 1 min 50 s a-robot-with-a-very-long-name-indeed: the prompt has 900 tokens and" in kept
    assert "\x1b[31m" not in kept
    last = [line for line in lines if "catalogue" in line][-1]
    assert "6/6" in last and "100 %" in last


@pytest.mark.parametrize("columns", [40, 80])
def test_the_live_lines_fit(columns: int) -> None:
    clock = Clock()
    seen = board.Board(0, 4, clock)
    for concept, record in events(clock):
        seen.update(concept.name, record)
        lines = seen.lines(columns)
        assert all(len(line) <= columns for line in lines)
        assert "catalogue" in lines[-1] and f"{seen.ended}/4" in lines[-1]
        if isinstance(record, Progress):
            name, _, stage = lines[0].partition(" ")
            assert name and concept.name.startswith(name)
            assert stage.startswith(record.stage) and f"{record.done}/100" in stage


def test_a_log_has_a_line_a_concept_and_one_a_minute() -> None:
    clock = Clock()
    lines: list[str] = []
    board.log(events(clock), board.Board(0, 4, clock), lines.append)
    ends = [line for line in lines if line.startswith(("done ", "held ", "failed "))]
    assert len(ends) == 4 and all("\x1b" not in line for line in lines)
    assert any(line.startswith("a-dragon: train ") and "catalogue 0/4 (0 %)" in line for line in lines)
    assert len(lines) <= 4 + 8 + 1 and lines[-1].startswith("catalogue 4/4 (100 %)")
