"""Trains the creatures' VAE: AutoencoderKL, 128x128x3 -> 8x8x32.

    python vae.py --data DATA --out OUT/vae --images 80000
    python vae.py --data DATA --out OUT/vae --images 60000 --start FOLDER     goes on from a finished one
    python vae.py --data DATA --out OUT/decoder --images 60000 --start FOLDER --freeze 1   the decoder alone

Few channels where there are many pixels keep decoding cheap, many in the latent keep the UNet as cheap as at 64 pixels.
`--freeze` lets a UNet train on the latents while the decoder still improves; its noise grows to what a denoiser's own
errors look like."""

import json
from pathlib import Path

import numpy as np
import torch
from common import Images, Run, arguments
from diffusers import AutoencoderKL
from diffusers.models.resnet import Downsample2D, ResnetBlock2D, Upsample2D
from factors import STYLES
from norms import quicken
from render import SIZE
from torch import Tensor, nn

LATENT_NOISE = 0.1  # standard deviation added to z while training, in units of z; also the posterior's shipped spread
CHANNELS = (16, 16, 32, 96, 128)
GROUPS = 2  # of all norms: with as many as the top level has channels each is normed alone, and colours are lost


def build() -> AutoencoderKL:
    vae = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=32,
        sample_size=SIZE,
        block_out_channels=CHANNELS,
        down_block_types=("DownEncoderBlock2D",) * len(CHANNELS),
        up_block_types=("UpDecoderBlock2D",) * len(CHANNELS),
        layers_per_block=1,
        norm_num_groups=GROUPS,
        mid_block_add_attention=False,
    )
    _start(vae)
    return vae


def _start(vae: AutoencoderKL) -> None:
    """Begin as a linear map that averages and repeats: otherwise colours are learnt several times later."""
    for module in vae.modules():
        if isinstance(module, ResnetBlock2D):
            nn.init.kaiming_normal_(module.conv1.weight, nonlinearity="relu")
            nn.init.zeros_(module.conv2.weight)
            if module.conv_shortcut is not None:
                nn.init.orthogonal_(module.conv_shortcut.weight)
                nn.init.zeros_(module.conv_shortcut.bias)
        elif isinstance(module, Downsample2D):
            nn.init.zeros_(module.conv.weight)
            nn.init.zeros_(module.conv.bias)
            module.conv.weight.data[:, :, :2, :2] = torch.eye(len(module.conv.weight))[:, :, None, None] / 4
        elif isinstance(module, Upsample2D):
            nn.init.dirac_(module.conv.weight)
            nn.init.zeros_(module.conv.bias)
    for conv in (vae.quant_conv, vae.post_quant_conv):
        nn.init.orthogonal_(conv.weight)
        nn.init.zeros_(conv.bias)


def load(folder: Path | str, device: torch.device | str = "cpu") -> AutoencoderKL:
    """A finished VAE in fp32, channels last."""
    vae = AutoencoderKL.from_pretrained(folder, torch_dtype=torch.float32, use_safetensors=True)
    return vae.to(device, memory_format=torch.channels_last)


def psnr(a: Tensor, b: Tensor) -> float:
    """Decibels between pictures in [0, 1]."""
    return float(-10 * torch.log10((a.clamp(0, 1) - b).square().mean()))


def gradients(x: Tensor) -> tuple[Tensor, Tensor]:
    """Differences between neighbours, across and down."""
    return x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]


def line_weight(x: Tensor) -> Tensor:
    """1 on even colour, up to 3 beside edges [B, 1, H, W]: eyes and mouths are few pixels, and would be learnt last."""
    across, down = (g.abs().amax(1, keepdim=True) for g in gradients(x))
    gradient = nn.functional.pad(across, (0, 1)) + nn.functional.pad(down, (0, 0, 0, 1))
    return 1 + 2 * nn.functional.max_pool2d(gradient, 3, 1, 1).clamp(max=1)


def picture_loss(y: Tensor, x: Tensor) -> Tensor:
    """Weighted L1 and squares, and L1 between finite differences. Pictures in [-1, 1]."""
    d = y - x
    edges = sum(((a - b).abs().mean() for a, b in zip(gradients(x), gradients(y), strict=True)), torch.zeros(()))
    return (line_weight(x) * (d.abs() + d.square())).mean() + 2 * edges


@torch.no_grad()
def report(vae: AutoencoderKL, held: Images, styles: list[str], device: torch.device) -> Tensor:
    """Print the PSNR on held-out renders, over all and by style; returns their latents."""
    parts, errors = [], []
    for index in np.array_split(np.arange(min(len(held), 1024)), 32):
        x = held.batch(index, device) * 2 - 1
        z = vae.encode(x).latent_dist.mean
        y = vae.decode(z).sample
        parts.append(z)
        errors.append(((y.clamp(-1, 1) - x) / 2).square().mean((1, 2, 3)))
    error = torch.cat(errors)
    print(
        f"held-out PSNR {-10 * error.mean().log10():.2f} dB; mean over pictures {(-10 * error.log10()).mean():.2f} dB"
    )
    named = np.array(styles[: len(error)])
    for style in STYLES:
        print(f"  {style:14} {-10 * error[torch.from_numpy(named == style)].mean().log10():.2f} dB")
    return torch.cat(parts)


def finish(vae: AutoencoderKL, latents: Tensor, out: Path) -> None:
    """Set the scaling factor and the posterior's spread, write fp16."""
    c = vae.config.latent_channels
    vae.quant_conv.weight.data[c:] = 0
    vae.quant_conv.bias.data[c:] = 2 * float(np.log(LATENT_NOISE))
    print(f"latent mean {latents.mean():.3f}, standard deviation {latents.std():.3f}")
    vae.register_to_config(scaling_factor=round(float(1 / latents.std()), 5))
    vae.half().save_pretrained(out / "final")


def main() -> None:
    o = arguments("Train the creatures' VAE", images=80_000, batch=32, lr=2e-3, freeze=0, start="")
    torch.set_flush_denormal(True)
    vae = load(o.start) if o.start else build()
    vae = quicken(vae.to(o.device, memory_format=torch.channels_last))
    data, held = Images(o.data, "train", SIZE), Images(o.data, "held", SIZE)
    styles = [json.loads(line)["style"] for line in (o.data / "held.jsonl").open()]
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
        loss = picture_loss(y, x) + 1e-3 * z.square().mean()
        return loss, f"psnr {psnr(y.detach() / 2 + 0.5, x / 2 + 0.5):.2f} z {z.std():.2f}"

    run.train(len(data), o.seed, loss_of)
    run.use_ema()
    finish(vae, report(vae, held, styles, o.device), o.out)


if __name__ == "__main__":
    main()
