"""Draws prompts with the parts of a training run, finished or not.

    python sample.py --vae OUT/vae/final --text OUT/unet/text --unet OUT/unet --sheet FILE.png

`--unet` is a finished folder, or a run's folder, whose EMA is then read from its checkpoint. One prompt a row, one seed
a column."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image
from render import sheet
from torch import Tensor
from unet import Words, load_unet, scheduler
from vae import load

PROMPTS = (
    "a monster",
    "a monster with one eye and long horns, arms up",
    "a fat purple monster with a long tail, orange background, frowning",
    "a robot toy",
    "a small red robot toy with long ears, dark green background",
    "a dragon",
    "a blue dragon with spots, turned left, mouth open",
    "a bunny",
    "a shiny teal bunny with three eyes and stripes, light from the right",
    "a monster in ink style",
    "a dragon, cartoon style, yellow background",
    "a bunny in neon style, arms up",
    "a robot toy in gold style",
    "a creature in pixel art style",
    "a monster in stained glass style",
    "a bunny, night style",
)


class Painter:
    """Pictures [B, 3, side, side] in [0, 1] of prompts, by the plain loop of a diffusers pipeline."""

    def __init__(self, vae: Path, text: Path, unet: Path, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.vae: AutoencoderKL = load(vae, device).eval()
        self.words, self.unet = (
            Words(text, self.device),
            load_unet(unet).to(device, memory_format=torch.channels_last).eval(),
        )

    @torch.no_grad()
    def latents(self, prompts: Sequence[str], seeds: Sequence[int], *, steps: int = 8, guidance: float = 1.0) -> Tensor:
        """Scaled latents [B, 32, 8, 8]."""
        plan = scheduler()
        plan.set_timesteps(steps)
        x = torch.stack([torch.randn(32, 8, 8, generator=torch.Generator().manual_seed(s)) for s in seeds]).to(
            self.device
        )
        x, states = x.contiguous(memory_format=torch.channels_last), self.words.states(list(prompts))
        empty = self.words.states([""]).expand_as(states)
        for t in plan.timesteps:
            with torch.autocast(self.device.type, torch.bfloat16):
                v = self.unet(x, t, states).sample.float()
                if guidance != 1:
                    v_empty = self.unet(x, t, empty).sample.float()
                    v = v_empty + guidance * (v - v_empty)
            x = plan.step(v, t, x).prev_sample
        return x

    @torch.no_grad()
    def paint(self, prompts: Sequence[str], seeds: Sequence[int], *, steps: int = 8, guidance: float = 1.0) -> Tensor:
        z = self.latents(prompts, seeds, steps=steps, guidance=guidance)
        with torch.autocast(self.device.type, torch.bfloat16):
            y = self.vae.decode(z / self.vae.config.scaling_factor).sample
        return y.float().clamp(-1, 1) / 2 + 0.5


def pixels(x01: Tensor) -> list[np.ndarray]:
    """uint8 pictures [side, side, 3]."""
    return list((x01 * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy())


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw prompts")
    for name in ("vae", "text", "unet", "sheet"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--guidance", type=float, default=1.0)
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--prompt", action="append", help="may be said several times")
    o = parser.parse_args()
    torch.set_num_threads(1)
    painter, seeds = Painter(o.vae, o.text, o.unet), range(o.seeds)
    rows = [painter.paint([p] * o.seeds, seeds, steps=o.steps, guidance=o.guidance) for p in o.prompt or PROMPTS]
    Image.fromarray(sheet([x for row in rows for x in pixels(row)], o.seeds)).save(o.sheet)


if __name__ == "__main__":
    main()
