"""No encoder at all: a small picture as a row of numbers. The paper's ablation, PCA in the model's own output space."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from sliderspace.models.encoders.base import Preprocessing

MODEL_TYPE = "pixels"


def load(folder: Path, config: dict[str, Any], device: torch.device, dtype: torch.dtype) -> tuple[nn.Module, int]:
    """Prepared pixels [B, 3, h, w] -> [B, 3·h·w]."""
    height, width = Preprocessing.read(folder).crop
    return nn.Flatten(), 3 * height * width
