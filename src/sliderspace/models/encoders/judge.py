"""The judge: a classifier of the true factors of an image, for models whose world is known. It trains no slider, it
only measures.

Its features are an encoder like any other, and one that never saw what trained the sliders; its answers say which
factors an image shows. A factor is a choice among names, or a number in ordered steps. `miniature/judge.py` trains it
on real renders; a factor that it reads badly there is none of its classes here, and of one that a picture's style hides
(a body's colour in ink) it says nothing.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

MODEL_TYPE = "factor_judge"
WIDTHS = (
    (64, 2),
    (64, 1),
    (128, 2),
    (160, 2),
)  # channels and stride of each block; 32 channels at half the picture's size before them
THIN = 32  # channels of the map that keeps its places

Classes = Mapping[str, Sequence[str]]
Numbers = Mapping[str, Sequence[float]]  # of factors that are numbers: what each class stands for, ascending
Hidden = Mapping[str, Sequence[str]]  # style -> the factors that its pictures do not show
STYLE = "style"  # the factor that decides it


class Block(nn.Module):
    """Two 3x3 convolutions, normalised before each, beside a shortcut."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(before), nn.Conv2d(before, after, 3, stride, 1)
        self.norm2, self.conv2 = nn.BatchNorm2d(after), nn.Conv2d(after, after, 3, 1, 1)
        same = before == after and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(before, after, stride, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(self.norm1(x).relu())
        return self.shortcut(x) + self.conv2(self.norm2(y).relu())


class Judge(nn.Module):
    """Pixels [B, 3, 64, 64] in [-1, 1] -> features [B, 160 + 32 * 16].

    They are the mean over the picture (colours, style) and a thin 4x4 map (horns, eyes, mouths). `logits` reads the
    factors off them.
    """

    def __init__(self, classes: Classes, numbers: Numbers | None = None, hidden: Hidden | None = None) -> None:
        super().__init__()
        self.classes = {name: tuple(values) for name, values in classes.items()}
        self.numbers = {name: tuple(steps) for name, steps in (numbers or {}).items()}
        self.hidden = {style: frozenset(names) for style, names in (hidden or {}).items()}
        self.stem = nn.Conv2d(3, 32, 4, 2, 1)
        widths = [32, *(w for w, _ in WIDTHS)]
        self.blocks = nn.Sequential(*(Block(a, b, s) for a, (b, s) in zip(widths, WIDTHS, strict=False)))
        self.norm, self.thin = nn.BatchNorm2d(widths[-1]), nn.Conv2d(widths[-1], THIN, 1)
        self.dim = widths[-1] + THIN * 16
        self.drop, self.head = nn.Dropout(0.1), nn.Linear(self.dim, sum(map(len, self.classes.values())))

    def forward(self, pixels: Tensor) -> Tensor:
        y = self.norm(self.blocks(self.stem(pixels))).relu()
        return torch.cat([y.mean((2, 3)), self.thin(y).flatten(1)], 1)

    def logits(self, features_BD: Tensor) -> dict[str, Tensor]:
        """Factor -> [B, its classes], all alike where the style that is read hides it."""
        parts = self.head(self.drop(features_BD)).split([len(c) for c in self.classes.values()], 1)
        found = dict(zip(self.classes, parts, strict=True))
        if not self.hidden:
            return found
        style_B = found[STYLE].argmax(1)
        return {name: part * self._shown(name, part)[style_B, None] for name, part in found.items()}

    def _shown(self, name: str, like: Tensor) -> Tensor:
        """[styles]: 1 where it shows a factor, else 0."""
        return like.new_tensor([name not in self.hidden.get(style, ()) for style in self.classes[STYLE]])


def load(folder: Path, config: dict[str, Any], device: torch.device, dtype: torch.dtype) -> tuple[nn.Module, int]:
    """The judge of a folder and the dimension of its features. Raises KeyError, RuntimeError for what is damaged."""
    judge = Judge(config["classes"], config.get("numbers"), config.get("hidden"))
    judge.load_state_dict(
        {k: v.float() if v.is_floating_point() else v for k, v in load_file(folder / "model.safetensors").items()}
    )
    return judge, judge.dim
