"""Trains the judge: a small classifier of the true factors of a drawing, with which the model card is measured.

    python judge.py --data DATA --out judge --vae vae/final --images 300000

It learns from real renders only: as they are, blurred or noised as previews are, and a quarter of each batch through
the VAE with noise on its latents, because everything the miniature draws comes out of that decoder. Nothing that is
trained later sees the judge.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from common import SIZE, Images, Run, Truth, arguments, augment, classes_of, factor_losses, rows, targets
from diffusers import AutoencoderKL
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from world import factors

from sliderspace.models.encoders import load_encoder
from sliderspace.models.encoders.judge import MODEL_TYPE
from sliderspace.models.encoders.judge import Judge as Network


class Judge:
    """The trained classifier, from the folder `final` of a run or from the shipped model."""

    def __init__(self, folder: Path, device: torch.device | str = "cpu") -> None:
        self.encoder = load_encoder(folder, identity=str(folder), device=torch.device(device), dtype=torch.float32)
        self.encoder.tower.to(memory_format=torch.channels_last)
        self.classes = self.encoder.classes

    @torch.no_grad()
    def answers(self, images01: Tensor) -> list[dict[str, str]]:
        """The most likely class of every factor, one dict an image, for images in [0, 1], [B, 3, 64, 64]."""
        best = {k: part.argmax(1).tolist() for k, part in self.encoder.described(images01.float())[1].items()}
        return [{k: self.classes[k][best[k][i]] for k in self.classes} for i in range(len(images01))]


class Softened:
    """`count` training images as the VAE gives them back, uint8 [count, 64, 64, 3], computed once and kept in a
    file."""

    def __init__(self, data: Images, vae: Path, path: Path, *, count: int, device: torch.device, seed: int) -> None:
        index = np.sort(np.random.default_rng((seed, 3)).choice(len(data), count, replace=False))
        if not path.exists():
            pictures = torch.cat(list(through(load_vae(vae, device), data, index, device)))
            save_file({"images": pictures, "index": torch.from_numpy(index)}, path)
        with safe_open(path, "pt") as file:
            self.images, self.index = file.get_tensor("images"), file.get_tensor("index").numpy()

    def batch(self, picks: np.ndarray, device: torch.device) -> Tensor:
        return self.images[picks].to(device).float().div_(255).permute(0, 3, 1, 2)


def load_vae(folder: Path, device: torch.device) -> AutoencoderKL:
    return (
        AutoencoderKL.from_pretrained(folder, use_safetensors=True).to(device, memory_format=torch.channels_last).eval()
    )


@torch.no_grad()
def through(vae: AutoencoderKL, data: Images, index: np.ndarray, device: torch.device) -> Iterator[Tensor]:
    """Decodings uint8 [<=100, 64, 64, 3] of the images' latents with noise of up to 0.4 standard deviations."""
    for part in np.array_split(index, -(-len(index) // 100)):
        with torch.autocast(device.type, torch.bfloat16):
            z = vae.encode(data.batch(part, device) * 2 - 1).latent_dist.mean
            y = vae.decode(z + 0.4 * torch.rand(len(z), 1, 1, 1, device=device) * torch.randn_like(z)).sample
        yield (y.float().clamp(-1, 1).add(1).mul(127.5)).round().byte().permute(0, 2, 3, 1).contiguous().cpu()


def shifted(x01: Tensor, rng: np.random.Generator) -> Tensor:
    """All images of a batch moved by up to two pixels, their borders repeated."""
    top, left = rng.integers(5, size=2)
    return nn.functional.pad(x01, (2, 2, 2, 2), mode="replicate")[..., top : top + 64, left : left + 64]


@torch.no_grad()
def settle(net: Network, batches: Iterator[Tensor]) -> None:
    """Give BatchNorm the exact means and variances of the final weights: running ones belong to weights of the past."""
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over the batches below
    net.train()
    for x in batches:
        net(x * 2 - 1)
    net.eval()


def accuracy(judge: Judge, pictures: Iterator[Tensor], truth: Truth) -> dict[str, tuple[float, float]]:
    """Share right of every factor: over all images where it has a word, and over those where it is there (not
    "none")."""
    answers = [a for x in pictures for a in judge.answers(x)]
    table = {}
    for k in judge.classes:
        named = [(a[k] == f[k], f[k] != "none") for a, f in zip(answers, truth, strict=False) if f[k] != "unnamed"]
        table[k] = (float(np.mean([r for r, _ in named])), float(np.mean([r for r, there in named if there])))
    return table


def finish(net: Network, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    values = {k: (v.half() if v.is_floating_point() else v).contiguous().cpu() for k, v in net.state_dict().items()}
    save_file(values, out / "model.safetensors", {"format": "pt"})
    (out / "config.json").write_text(json.dumps({"model_type": MODEL_TYPE, "classes": net.classes}, indent=1) + "\n")
    look = {"size": {"height": SIZE, "width": SIZE}, "resample": 2, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (out / "preprocessor_config.json").write_text(json.dumps(look, indent=1) + "\n")


def report(judge: Judge, held: Images, truth: Truth, vae: Path, device: torch.device) -> None:
    real = accuracy(judge, (held.batch(i, device) for i in np.array_split(np.arange(len(held)), 30)), truth)
    first = np.arange(1500)
    soft = accuracy(
        judge,
        (y.to(device).permute(0, 3, 1, 2) / 255 for y in through(load_vae(vae, device), held, first, device)),
        truth,
    )
    print("held-out accuracy: real renders, where present; through the VAE with noise, where present")
    for k in real:
        print(f"{k:12} {real[k][0]:.4f} {real[k][1]:.4f}   {soft[k][0]:.4f} {soft[k][1]:.4f}", flush=True)


def main() -> None:
    o = arguments("Train the judge", images=300_000, batch=128, lr=2e-3, vae="vae/final", softened=12_000)
    data, truth = Images(o.data, "train"), [factors(r) for r in rows(o.data, "train")]
    classes = classes_of(truth)
    labels = targets(truth, classes).to(o.device)
    soft = Softened(data, Path(o.vae), o.out / "softened.safetensors", count=o.softened, device=o.device, seed=o.seed)
    net = Network(classes).to(o.device, memory_format=torch.channels_last)
    run = Run(net, o.out / "state.safetensors", images=o.images, batch=o.batch, lr=o.lr, ema=0.998)

    def batch(index: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Augmented images and their labels; every fourth is one that went through the VAE."""
        picks, index, x = rng.integers(o.softened, size=len(index[::4])), index.copy(), data.batch(index, o.device)
        index[::4], x[::4] = soft.index[picks], soft.batch(picks, o.device)
        return augment(shifted(x, rng)).contiguous(memory_format=torch.channels_last), labels[index]

    def loss_of(index: np.ndarray) -> tuple[Tensor, str]:
        x, y = batch(index, np.random.default_rng((o.seed, 4, run.step)))
        with torch.autocast(o.device.type, torch.bfloat16):
            losses = factor_losses(torch.cat([*net.logits(net(x * 2 - 1)).values()], 1), y, classes)
        return torch.stack(list(losses.values())).mean(), " ".join(f"{k} {v:.2f}" for k, v in losses.items())

    run.train(len(data), o.seed, loss_of)
    run.use_ema()
    rng = np.random.default_rng((o.seed, 5))
    settle(net, (batch(np.sort(rng.integers(len(data), size=o.batch)), rng)[0] for _ in range(40)))
    finish(net, o.out / "final")
    report(
        Judge(o.out / "final", o.device),
        Images(o.data, "held"),
        [factors(r) for r in rows(o.data, "held")],
        Path(o.vae),
        o.device,
    )


if __name__ == "__main__":
    main()
