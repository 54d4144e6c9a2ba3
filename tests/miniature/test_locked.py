"""Texts that learn beside a locked image tower: no picture's embedding changes, and texts do."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).parents[2] / "miniature"))

import locked
from factors import Creature, draw
from numpy.typing import NDArray
from render import SIZE, write
from words import background, has, poses

CLIP = Path(__file__).parents[2] / "src" / "sliderspace" / "assets" / "mini" / "clip"


def test_only_texts_learn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def noise(c: Creature) -> NDArray[np.uint8]:
        return np.random.default_rng(c.index).integers(256, size=(SIZE, SIZE, 3), dtype=np.uint8)

    monkeypatch.setattr("render.render", noise)
    write(tmp_path / "train", 0, 40, 0)
    write(tmp_path / "held", 1000, 12, 0)
    asked = {"data": tmp_path, "out": tmp_path / "out", "clip": CLIP, "images": 24, "batch": 8, "device": "cpu"}
    words = [word for name, value in asked.items() for word in (f"--{name}", str(value))]
    monkeypatch.setattr(sys, "argv", ["locked.py", *words])
    locked.main()
    before, after = (load_file(folder / "model.safetensors") for folder in (CLIP, tmp_path / "out" / "final"))
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert same >= {name for name in before if name.startswith(("vision_model", "visual_projection"))}
    assert not any(name.startswith("text_projection") for name in same) and before.keys() == after.keys()


def test_short_captions_say_one_thing() -> None:
    rng, c = np.random.default_rng(0), draw(3)
    sayable = [word for word in (*has(c), *poses(c), background(c)) if word]
    for _ in range(50):
        text = locked.said_of(c, rng, one=True).replace("a pale belly", "belly")
        assert (
            1 <= sum(word.replace("a pale belly", "belly") in text for word in sayable) <= 2
        )  # or its background, too
