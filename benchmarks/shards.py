"""Whether n processes make what one makes: `--shard i/n` of sample, train and measure, by the command line itself.

    python benchmarks/shards.py --processes 3

One folder is made by one process; one by n processes that share it, all at once; and n folders, one for each process,
are copied together after every stage. All must hold the same bytes. Models are tiny and random; the code is the real
one.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from kills import contents
from tiny_models import save_tiny

LANES = ("--lanes", "2")


def started(*words: str) -> subprocess.Popen[str]:
    """A process of the command line, one thread."""
    command = [sys.executable, "-m", "sliderspace.cli", *words]
    return subprocess.Popen(
        command,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(*processes: subprocess.Popen[str]) -> None:
    """Wait for all. Raises SystemExit where one failed."""
    for process in processes:
        _, trouble = process.communicate()
        if process.returncode:
            raise SystemExit(f"{process.args} ended with {process.returncode}:\n{trouble[-2000:]}")


def run(folders: Sequence[Path], parts: int, sampling: Sequence[str], training: Sequence[str]) -> None:
    """All stages in `parts` processes at once, the i-th on folder i of those there are; fit and the last gathering are
    one process's."""
    first = str(folders[0])
    stages = {
        "sample": lambda i: ("sample", *sampling, "--out", str(folders[i % len(folders)])),
        "train": lambda i: ("train", str(folders[i % len(folders)]), *training, *LANES),
        "measure": lambda i: ("measure", str(folders[i % len(folders)]), *LANES),
    }
    for name, words in stages.items():
        ended(*(started(*words(i), "--shard", f"{i}/{parts}") for i in range(parts)))
        merge(folders)
        if name == "sample":
            ended(started("fit", first, "--sliders", "5"))
            merge(folders)
    ended(started("train", first, *training, *LANES))
    ended(started("report", first))


def merge(folders: Sequence[Path]) -> None:
    """Each gets the files that others have made."""
    for one in folders:
        for other in folders:
            if one != other:
                shutil.copytree(one, other, dirs_exist_ok=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--processes", type=int, default=3)
    parts = parser.parse_args().processes
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        model, encoder = save_tiny(root / "models")
        sampling = ("a robot", "a person", "--backbone", str(model), "--encoder", str(encoder), "--samples", "300")
        sampling = (*sampling, "--steps", "3", "--guidance", "1", "--precision", "float32", "--device", "cpu")
        training = ("--updates", "60", "--device", "cpu")
        cases = {"one": (1, 1), "shared": (1, parts), "copied together": (parts, parts)}
        seconds: dict[str, float] = {}
        for name, (count, processes) in cases.items():
            start = time.monotonic()
            run([root / f"{name} {i}" for i in range(count)], processes, sampling, training)
            seconds[name] = round(time.monotonic() - start, 1)
            if unlike := _unlike(contents(root / f"{name} 0"), contents(root / "one 0")):
                raise SystemExit(f"{name}: unlike one process's: {', '.join(unlike)}")
    print(json.dumps({"processes": parts, "seconds": seconds}))
    print("the bytes of one process, on one folder and on folders that were copied together")


def _unlike(ours: dict[str, str], theirs: dict[str, str]) -> list[str]:
    return sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))


if __name__ == "__main__":
    main()
