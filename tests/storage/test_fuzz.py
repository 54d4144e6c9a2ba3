"""Every file of a run and every reader of it: a broken file is an error of a few lines, or harmless; never a traceback.

The files are those of a real small run, spoiled in some hundred ways that do not change from run to run.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mutations import CASES, faults, make_whole

from sliderspace.engine.evaluation import Evaluation

TIMES = 8  # each case; `benchmarks/faults.py` spoils files by the thousand


@pytest.fixture(scope="module")
def run(finished: Path, make_models: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with an evaluation, and its sliders as exported files beside it."""
    root = tmp_path_factory.mktemp("fuzz")
    folder = Path(shutil.copytree(finished, root / "run"))
    list(Evaluation(make_models(folder), seeds=2)())
    make_whole(folder)
    return folder


@pytest.mark.parametrize(("name", "reader"), CASES, ids=[f"{n.rpartition('/')[2]}-{r.__name__}" for n, r in CASES])
def test_a_spoiled_file_is_refused_in_a_few_lines_or_does_no_harm(
    run: Path, name: str, reader: Callable[[Path], str]
) -> None:
    found = faults(run, name, reader, range(TIMES))
    assert not found, "\n".join(found)


def test_a_reader_that_breaks_is_noticed(run: Path) -> None:
    """The control: one that unpacks what it reads without a look at it."""

    def careless(folder: Path) -> str:
        import json

        return str(json.loads((folder / "space.json").read_bytes())["sliders"][0]["unit"])

    assert faults(run, "space.json", careless, range(10))
