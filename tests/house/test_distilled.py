"""The distilled built-in model from a prompt to drawn sliders, by the commands that people type."""

import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from sliderspace.cli import app


@pytest.mark.slow  # the default model: the README's Python and the demo's command are run by default
def test_discover_and_draw_with_it(tmp_path: Path, least_measured: None) -> None:
    run, few = tmp_path / "run", ("--sliders=2", "--samples=12", "--updates=3", "--device=cpu")
    for typed in (
        ("discover", "a monster", "--backbone", "mini-turbo", *few, "--out", run),
        ("generate", run, "--set", "0=1", "--seeds", "0-1", "--out", tmp_path / "pictures"),
    ):
        result = CliRunner().invoke(app, [*map(str, typed)])
        assert result.exit_code == 0, f"{result.output}\n{result.exception!r}"
    space = json.loads((run / "space.json").read_text())
    assert space["settings"]["backbone"] == "mini-turbo" and len(space["sliders"]) == 2
    pictures = sorted((tmp_path / "pictures").rglob("*.png"))
    assert pictures and Image.open(pictures[0]).size[0] >= 128
