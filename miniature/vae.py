"""Trains the miniature's VAE: AutoencoderKL, 64x64x3 -> 8x8x16.

    python vae.py --data DATA --out vae --images 160000               encoder and decoder together
    python vae.py --data DATA --out vae --images 80000 --start FOLDER  goes on from a finished one
    python vae.py --data DATA --out vae --images 300000 --start FOLDER --freeze 1    the decoder alone, on latents that
    stay as they are

Few channels at full resolution (16) keep decoding cheap: every preview and every update of a slider decodes.
The last form lets a UNet train on the frozen latents while the decoder still improves. Its noise grows to what a
denoiser's own errors look like.
"""

from pathlib import Path

import numpy as np
import torch
from common import Images, Run, arguments
from diffusers import AutoencoderKL
from torch import Tensor, nn

LATENT_NOISE = 0.1  # standard deviation added to z while training, in units of z; also the posterior's shipped spread


def build() -> AutoencoderKL:
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=16,
        sample_size=64,
        block_out_channels=(16, 32, 96, 128),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=8,
        mid_block_add_attention=False,
    )


def psnr(a: Tensor, b: Tensor) -> float:
    return float(-10 * torch.log10((a.clamp(0, 1) - b).square().mean()))


def gradients(x: Tensor) -> tuple[Tensor, Tensor]:
    return x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]


def line_weight(x: Tensor) -> Tensor:
    """1 on even colour, up to 4 beside drawn lines [B, 1, H, W]: glasses are a few pixels, and would be the last thing
    learnt."""
    across, down = (g.abs().amax(1, keepdim=True) for g in gradients(x))
    gradient = nn.functional.pad(across, (0, 1)) + nn.functional.pad(down, (0, 0, 0, 1))
    return 1 + 3 * nn.functional.max_pool2d(gradient, 3, 1, 1).clamp(max=1)


def edge_loss(y: Tensor, x: Tensor) -> Tensor:
    """L1 between finite differences: thin drawn lines weigh little in plain L1 and are what a viewer sees first."""
    return sum((nn.functional.l1_loss(a, b) for a, b in zip(gradients(x), gradients(y), strict=True)), torch.zeros(()))


@torch.no_grad()
def finish(vae: AutoencoderKL, data: Images, out: Path, device: torch.device) -> None:
    """Measure on held-out renders, set the scaling factor and the posterior's spread, write fp16."""
    c = vae.config.latent_channels
    vae.quant_conv.weight[c:] = 0
    vae.quant_conv.bias[c:] = 2 * float(np.log(LATENT_NOISE))
    x = data.batch(np.arange(1024), device) * 2 - 1
    z = vae.encode(x).latent_dist.mean
    print(f"held-out PSNR {psnr(vae.decode(z).sample / 2 + 0.5, x / 2 + 0.5):.2f} dB, latent std {z.std():.3f}")
    vae.register_to_config(scaling_factor=round(float(1 / z.std()), 5))
    vae.half().save_pretrained(out / "final")


def main() -> None:
    o = arguments("Train the VAE", images=160_000, batch=32, lr=2e-3, freeze=0, start="")
    vae = (
        AutoencoderKL.from_pretrained(o.start, torch_dtype=torch.float32, use_safetensors=True) if o.start else build()
    )
    vae = vae.to(o.device, memory_format=torch.channels_last)
    data, held = Images(o.data, "train"), Images(o.data, "held")
    if o.freeze:
        vae.encoder.requires_grad_(False)
        vae.quant_conv.requires_grad_(False)
    run = Run(
        vae,
        o.out / ("decoder.safetensors" if o.freeze else "state.safetensors"),
        images=o.images,
        batch=o.batch,
        lr=o.lr,
    )

    def loss_of(index: np.ndarray) -> tuple[Tensor, str]:
        x = data.batch(index, o.device) * 2 - 1
        with torch.autocast(o.device.type, torch.bfloat16):
            z = vae.encode(x).latent_dist.mean
            spread = LATENT_NOISE * (1 + 2 * torch.rand(len(z), 1, 1, 1, device=z.device) if o.freeze else 1)
            y = vae.decode(z + spread * torch.randn_like(z)).sample
        y, z = y.float(), z.float()
        pixels = (line_weight(x) * ((y - x).abs() + (y - x).square())).mean()
        loss = pixels + 2 * edge_loss(y, x) + 1e-3 * z.square().mean()
        return loss, f"psnr {psnr(y.detach() / 2 + 0.5, x / 2 + 0.5):.2f} z {z.std():.2f}"

    run.train(len(data), o.seed, loss_of)
    run.use_ema()
    finish(vae, held, o.out, o.device)


if __name__ == "__main__":
    main()
