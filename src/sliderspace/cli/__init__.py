"""The command line. Heavy imports happen inside the verbs, so that --help answers at once."""

import io
import sys

from sliderspace.cli import draw, experiments, explore, files, label, look, measure, stages
from sliderspace.cli.app import app

VERBS = (
    stages,
    draw,
    explore,
    label,
    look,
    measure,
    experiments,
    files,
)  # importing them is what registers their verbs
__all__ = ["VERBS", "app", "main"]


def main() -> None:
    """Entry point of the `sliderspace` script."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # piped on Windows it has cp1252, without the minus sign
            stream.reconfigure(errors="backslashreplace")
    app()
