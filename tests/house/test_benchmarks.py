"""The benchmarks whose figures the documents quote run to their end, in small."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ("kills.py", "--kills", "3"),
        ("shards.py", "--processes", "2"),
        ("catalogue.py", "--concepts", "300", "--workers", "8", "--samples", "20", "--updates", "3"),
        ("cluster.py", "--tiny"),
        ("faults.py", "--faults", "4", "--mutations", "100"),
        ("memory.py", "sample", "--trajectories", "32"),
        ("memory.py", "train", "--trajectories", "512"),
        ("memory.py", "measure", "--sliders", "4"),
    ],
    ids=" ".join,
)
def test_a_benchmark_holds_its_limits(command: tuple[str, ...]) -> None:
    script, *options = command
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    line = [sys.executable, str(ROOT / "benchmarks" / script), *options]
    done = subprocess.run(line, env=environment, text=True, capture_output=True, timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_time_to_quality_of_a_run_beside_itself(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import quality

    quality.main([str(finished), str(finished), "--check-every", "5", "--device", "cpu"])
    said = capsys.readouterr().out
    assert said.count("15 updates of") == 2 and "the first has the second's after" in said
