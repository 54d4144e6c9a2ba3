"""Trains the preview decoder: AutoencoderTiny, 8x8x32 -> 64x64x3, taught by the full decoder.

    python tiny.py --data DATA --out OUT/tiny --vae OUT/vae/final --clip OUT/clip/final --latents OUT/unet

It reads scaled latents, as AutoencoderTiny does (its own scaling factor is 1), squashes them to ±3 standard deviations,
and draws at half the size: previews are looked at by encoders and not by people. So its pictures are to be like the
full decoder's, and their embeddings too. A quarter of the latents are shrunk towards the mean, as early previews are.
Its encoder is never used and not trained. `--start FOLDER` begins with a trained one: another CLIP sees otherwise."""

from pathlib import Path

import numpy as np
import torch
from common import Run, arguments
from diffusers import AutoencoderKL, AutoencoderTiny
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, interpolate
from unet import latents
from vae import gradients, load

from sliderspace.models.encoders import load_encoder

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
def lesson(vae: AutoencoderKL, z: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The full decoder's pictures of scaled latents, whole and at the preview's size, in [-1, 1]."""
    y = vae.decode(z / vae.config.scaling_factor).sample.float().clamp(-1, 1)
    return y, interpolate(y, size=(size, size), mode="bilinear", antialias=True)


def main() -> None:
    o = arguments(
        "Train the preview decoder", images=200_000, batch=32, lr=2e-3, vae="", clip="", latents="", noise=0.3, start=""
    )
    torch.set_flush_denormal(True)
    vae, tiny = load(o.vae, o.device).eval(), build()
    if o.start:
        tiny = AutoencoderTiny.from_pretrained(o.start, torch_dtype=torch.float32, use_safetensors=True)
    tiny = tiny.to(o.device, memory_format=torch.channels_last)
    encoder = load_encoder(Path(o.clip), identity="", device=o.device, dtype=torch.bfloat16)
    z_all = latents(o.data, "train", o.vae, Path(o.latents), o.device)
    tiny.encoder.requires_grad_(False)
    run = Run(tiny, o.out / "state.safetensors", images=o.images, batch=o.batch, lr=o.lr)

    def loss_of(index: np.ndarray) -> tuple[Tensor, str]:
        z = z_all[index].to(o.device).float().contiguous(memory_format=torch.channels_last)
        some = torch.rand(len(z), 1, 1, 1, device=o.device) < 0.25
        z = torch.where(some, z * torch.rand(len(z), 1, 1, 1, device=o.device), z)
        z = z + o.noise * torch.rand(len(z), 1, 1, 1, device=o.device) * torch.randn_like(z)
        with torch.autocast(o.device.type, torch.bfloat16):
            y = tiny.decode(z).sample.float()
            whole, x = lesson(vae, z, y.shape[-1])
            with torch.no_grad():
                due = encoder(whole / 2 + 0.5)
            cosine = cosine_similarity(encoder(y / 2 + 0.5), due)
        edges = sum(((a - b).abs().mean() for a, b in zip(gradients(x), gradients(y), strict=True)), torch.zeros(()))
        loss = nn.functional.l1_loss(y, x) + nn.functional.mse_loss(y, x) + edges + (1 - cosine).mean()
        psnr = -10 * np.log10(float((y.detach() - x).square().mean()) / 4)
        return loss, f"psnr {psnr:.2f} cosine {float(cosine.mean()):.3f}"

    run.train(len(z_all), o.seed, loss_of)
    run.use_ema()
    tiny.half().save_pretrained(o.out / "final")


if __name__ == "__main__":
    main()
