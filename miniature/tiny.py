"""Trains the preview decoder: AutoencoderTiny, 8x8x32 -> 64x64x3, taught by the full decoder.

    python tiny.py --data DATA --out OUT/tiny --vae OUT/vae/final --latents OUT/unet --images 200000

It reads scaled latents, as AutoencoderTiny does (its own scaling factor is 1), squashes them to ±3 standard deviations,
and draws at half the size: previews are looked at by encoders and not by people. Its encoder is never used and not
trained."""

from pathlib import Path

import numpy as np
import torch
from common import Run, arguments
from diffusers import AutoencoderKL, AutoencoderTiny
from torch import Tensor, nn
from torch.nn.functional import interpolate
from unet import latents
from vae import gradients, load

WIDTH = 32
DEPTHS = (3, 2, 0, 0)  # blocks at 8, 16, 32 and 64 pixels


def build() -> AutoencoderTiny:
    return AutoencoderTiny(
        latent_channels=32,
        encoder_block_out_channels=(8,) * len(DEPTHS),
        decoder_block_out_channels=(WIDTH,) * len(DEPTHS),
        num_encoder_blocks=(1,) * len(DEPTHS),
        num_decoder_blocks=DEPTHS,
        force_upcast=False,
    )


@torch.no_grad()
def lesson(vae: AutoencoderKL, z: Tensor, size: int) -> Tensor:
    """The full decoder's pictures of scaled latents, at the preview's size, in [-1, 1]."""
    y = vae.decode(z / vae.config.scaling_factor).sample.float().clamp(-1, 1)
    return interpolate(y, size=(size, size), mode="bilinear", antialias=True)


def main() -> None:
    o = arguments("Train the preview decoder", images=200_000, batch=32, lr=2e-3, vae="", latents="", noise=0.3)
    torch.set_flush_denormal(True)
    vae, tiny = load(o.vae, o.device).eval(), build().to(o.device, memory_format=torch.channels_last)
    z_all = latents(o.data, "train", o.vae, Path(o.latents), o.device)
    tiny.encoder.requires_grad_(False)
    run = Run(tiny, o.out / "state.safetensors", images=o.images, batch=o.batch, lr=o.lr)

    def loss_of(index: np.ndarray) -> tuple[Tensor, str]:
        z = z_all[index].to(o.device).float().contiguous(memory_format=torch.channels_last)
        z = z + o.noise * torch.rand(len(z), 1, 1, 1, device=o.device) * torch.randn_like(z)
        with torch.autocast(o.device.type, torch.bfloat16):
            y = tiny.decode(z).sample.float()
            x = lesson(vae, z, y.shape[-1])
        edges = sum(((a - b).abs().mean() for a, b in zip(gradients(x), gradients(y), strict=True)), torch.zeros(()))
        loss = nn.functional.l1_loss(y, x) + nn.functional.mse_loss(y, x) + edges
        return loss, f"psnr {-10 * np.log10(float((y.detach() - x).square().mean()) / 4):.2f}"

    run.train(len(z_all), o.seed, loss_of)
    run.use_ema()
    tiny.half().save_pretrained(o.out / "final")


if __name__ == "__main__":
    main()
