"""Texts that learn beside a locked image tower: no picture's embedding changes, and texts do."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).parents[2] / "miniature"))

import locked
from factors import CLAY, Creature, draw
from numpy.typing import NDArray
from render import SIZE, write

CLIP = Path(__file__).parents[2] / "src" / "sliderspace" / "assets" / "mini" / "clip"


def test_only_texts_learn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def noise(c: Creature) -> NDArray[np.uint8]:
        return np.random.default_rng(c.index).integers(256, size=(SIZE, SIZE, 3), dtype=np.uint8)

    monkeypatch.setattr("render.render", noise)
    monkeypatch.setattr(locked, "LEAST", 3)
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


def test_a_phrase_is_taught_the_mean_of_its_pictures() -> None:
    creatures = [draw(k) for k in range(2000)]
    z_ND = torch.nn.functional.normalize(torch.randn(2000, 6, generator=torch.Generator().manual_seed(0)), dim=1)
    found = {group.ways[0][0]: group for group in locked.phrases_of(creatures, z_ND)}
    monsters = found["a monster"]
    true = [
        i for i, c in enumerate(creatures) if (c.kind, c.style) == ("monster", CLAY) and "arms up" in locked.words_of(c)
    ]
    place = next(w for w, ways in enumerate(monsters.ways) if "a monster, arms up" in ways)
    assert len(true) >= locked.LEAST
    assert torch.allclose(monsters.mean_WD[place], locked.unit(z_ND[true].mean(0)))
    assert {name.removeprefix("a creature") for name in found if "style" in name} <= {
        f" in {c.style} style" for c in creatures
    }


def test_words_that_pictures_hide_are_not_taught() -> None:
    inked = next(c for k in range(2000) if (c := draw(k)).style == "ink")
    assert not any("background" in word for word in locked.words_of(inked))
    assert locked.body(inked) not in locked.words_of(inked)


def test_a_small_move_that_is_missed_counts_as_much_as_a_large_one() -> None:
    mean_WD = torch.eye(4)[:3] * torch.tensor([1.0, 0.2, 0.2])[:, None]
    assert locked.missed(mean_WD, mean_WD) == 0
    lost = []
    for w in (0, 1):
        text_WD = mean_WD.clone()
        text_WD[w] = mean_WD[[k for k in range(3) if k != w]].mean(0)  # says nothing of its own
        lost.append(float(locked.missed(text_WD, mean_WD)))
    assert 0.3 < lost[1] / lost[0] < 3.0  # their moves' squares: 25
