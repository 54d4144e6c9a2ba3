"""Real second processes that run a few lines of Python."""

import os
import subprocess
import sys
from pathlib import Path

import sliderspace


def child(code: str, *arguments: object) -> subprocess.Popen[str]:
    """A real second process running `code`, which sees `arguments` as sys.argv[1:]."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(Path(sliderspace.__file__).parents[1])}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out
