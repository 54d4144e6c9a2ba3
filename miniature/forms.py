"""Trains an image encoder without a single word or label: what a picture has in common with itself, cropped, mirrored
and recoloured.

    python forms.py --data DATA --out OUT/forms --images 150000

DINOv2's class at a tiny size, with SimCLR's objective (Chen et al. 2020, arXiv 2002.05709), which learns well in small
batches. It stands in for DINO in the study's question of encoders: it sees form and layout, and colours only as far as
the recolouring leaves them.
"""

import json

import numpy as np
import torch
from common import Images, Run, arguments
from judge import SEEN, small
from render import SIZE
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Dinov2Config, Dinov2Model

TEMPERATURE = 0.2
OUT = 64  # dimensions in which views are compared; thrown away afterwards


def build() -> Dinov2Model:
    return Dinov2Model(
        Dinov2Config(
            hidden_size=96,
            num_hidden_layers=4,
            num_attention_heads=4,
            mlp_ratio=4,
            image_size=SEEN,
            patch_size=8,
            drop_path_rate=0.0,
            attn_implementation="eager",
        )
    )


def view(x01: Tensor, rng: np.random.Generator) -> Tensor:
    """A crop of half to all of each picture's area, some mirrored, each with brightness, contrast and colour of its
    own; in [-1, 1]."""
    count, device = len(x01), x01.device

    def draw(low: float, high: float, *shape: int) -> Tensor:
        return torch.from_numpy(rng.uniform(low, high, shape or (count,))).float().to(device)

    scale = draw(0.5, 1.0).sqrt()
    mirror = torch.where(draw(0, 1) < 0.5, -1.0, 1.0)
    move = draw(-1, 1, count, 2) * (1 - scale).unsqueeze(1)
    grid = torch.zeros(count, 2, 3, device=device)
    grid[:, 0, 0], grid[:, 1, 1], grid[:, :, 2] = scale * mirror, scale, move
    places = F.affine_grid(grid, list(x01.shape), align_corners=False)
    x = F.grid_sample(x01, places, mode="bilinear", padding_mode="border", align_corners=False)
    mean = x.mean((1, 2, 3), keepdim=True)
    x = (x - mean) * draw(0.6, 1.4, count, 1, 1, 1) + mean * draw(0.7, 1.3, count, 1, 1, 1)
    mix = torch.eye(3, device=device) + 0.25 * torch.from_numpy(rng.standard_normal((count, 3, 3))).float().to(device)
    return torch.einsum("bij,bjhw->bihw", mix, x).clamp(0, 1) * 2 - 1


def contrast(z_2BD: Tensor) -> tuple[Tensor, float]:
    """SimCLR's loss of 2·B projections, views of the same picture B rows apart; and how often the other view is the
    nearest."""
    z = F.normalize(z_2BD.float(), dim=1)
    scores = (z @ z.T / TEMPERATURE).fill_diagonal_(-torch.inf)
    other = torch.arange(len(z), device=z.device).roll(len(z) // 2)
    return F.cross_entropy(scores, other), float((scores.argmax(1) == other).float().mean())


def main() -> None:
    o = arguments("Train the encoder without labels", images=150_000, batch=128, lr=1e-3)
    data, model = Images(o.data, "train", SIZE), build().to(o.device)
    head = nn.Sequential(nn.Linear(96, 192), nn.GELU(), nn.Linear(192, OUT)).to(o.device)
    both = nn.ModuleDict({"model": model, "head": head})
    run = Run(both, o.out / "state.safetensors", images=o.images, batch=o.batch, lr=o.lr, ema=0.998)

    def loss_of(index: np.ndarray) -> tuple[Tensor, str]:
        x, rng = small(data.batch(index, o.device)), np.random.default_rng((o.seed, 6, run.step))
        views = torch.cat([view(x, rng), view(x, rng)])
        with torch.autocast(o.device.type, torch.bfloat16):
            loss, nearest = contrast(head(model(pixel_values=views).pooler_output))
        return loss, f"other view nearest {nearest:.2f}"

    run.train(len(data), o.seed, loss_of)
    run.use_ema()
    model.half().save_pretrained(o.out / "final")
    half = [0.5] * 3
    look = {
        "size": {"height": SEEN, "width": SEEN},
        "resample": 3,
        "do_center_crop": False,
        "image_mean": half,
        "image_std": half,
    }
    (o.out / "final" / "preprocessor_config.json").write_text(json.dumps(look, indent=1) + "\n")


if __name__ == "__main__":
    main()
