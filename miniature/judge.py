"""Trains the judge: a small classifier of the true factors of a drawing, with which the model card is measured.

    python judge.py --data DATA --out judge --vae vae/final --images 300000

It learns from real renders only: as they are, blurred or noised as previews are, and a quarter of each batch through the VAE
with noise on its latents, because everything the miniature draws comes out of that decoder. Nothing that is trained later sees the judge.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from common import Classes, Images, Run, Truth, arguments, augment, classes_of, factor_losses, rows, split, targets
from diffusers import AutoencoderKL
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from world import factors

WIDTHS = ((64, 2), (64, 1), (128, 2), (160, 2))  # channels and stride of each block; 32 channels at 32x32 before them


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


class Net(nn.Module):
    """images01 [B, 3, 64, 64] -> logits [B, all classes of all factors].

    The answer is read from the mean over the picture (colours, style) and from a thin 4x4 map (glasses, beards, mouths).
    """

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 4, 2, 1)
        widths = [32, *(w for w, _ in WIDTHS)]
        self.blocks = nn.Sequential(*(Block(a, b, s) for a, (b, s) in zip(widths, WIDTHS, strict=False)))
        self.norm, self.thin = nn.BatchNorm2d(widths[-1]), nn.Conv2d(widths[-1], 32, 1)
        self.drop, self.head = nn.Dropout(0.1), nn.Linear(widths[-1] + 32 * 16, outputs)

    def forward(self, images01: Tensor) -> Tensor:
        y = self.norm(self.blocks(self.stem(images01 * 2 - 1))).relu()
        return self.head(self.drop(torch.cat([y.mean((2, 3)), self.thin(y).flatten(1)], 1)))


class Judge:
    """The trained classifier, from the folder `final` of a run."""

    def __init__(self, folder: Path, device: torch.device | str = "cpu") -> None:
        self.classes: Classes = json.loads((folder / "config.json").read_text())["classes"]
        self.net = Net(sum(map(len, self.classes.values())))
        self.net.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in load_file(folder / "model.safetensors").items()})
        self.net.eval().to(device, memory_format=torch.channels_last)

    @torch.no_grad()
    def answers(self, images01: Tensor) -> list[dict[str, str]]:
        """The most likely class of every factor, one dict an image, for images in [0, 1], [B, 3, 64, 64]."""
        best = {k: part.argmax(1).tolist() for k, part in split(self.net(images01.float()), self.classes).items()}
        return [{k: self.classes[k][best[k][i]] for k in self.classes} for i in range(len(images01))]


class Softened:
    """`count` training images as the VAE gives them back, uint8 [count, 64, 64, 3], computed once and kept in a file."""

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
    return AutoencoderKL.from_pretrained(folder, use_safetensors=True).to(device, memory_format=torch.channels_last).eval()


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
def settle(net: Net, batches: Iterator[Tensor]) -> None:
    """Give BatchNorm the exact means and variances of the final weights: running ones belong to weights of the past."""
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over the batches below
    net.train()
    for x in batches:
        net(x)
    net.eval()


def accuracy(judge: Judge, pictures: Iterator[Tensor], truth: Truth) -> dict[str, tuple[float, float]]:
    """Share right of every factor: over all images where it has a word, and over those where it is there (not "none")."""
    answers = [a for x in pictures for a in judge.answers(x)]
    table = {}
    for k in judge.classes:
        named = [(a[k] == f[k], f[k] != "none") for a, f in zip(answers, truth, strict=False) if f[k] != "unnamed"]
        table[k] = (float(np.mean([r for r, _ in named])), float(np.mean([r for r, there in named if there])))
    return table


def finish(net: Net, classes: Classes, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    values = {k: (v.half() if v.is_floating_point() else v).contiguous().cpu() for k, v in net.state_dict().items()}
    save_file(values, out / "model.safetensors", {"format": "pt"})
    (out / "config.json").write_text(json.dumps({"classes": classes, "image_size": 64, "range": [0, 1]}, indent=1) + "\n")


def report(judge: Judge, held: Images, truth: Truth, vae: Path, device: torch.device) -> None:
    real = accuracy(judge, (held.batch(i, device) for i in np.array_split(np.arange(len(held)), 30)), truth)
    first = np.arange(1500)
    soft = accuracy(judge, (y.to(device).permute(0, 3, 1, 2) / 255 for y in through(load_vae(vae, device), held, first, device)), truth)
    print("held-out accuracy: real renders, where present; through the VAE with noise, where present")
    for k in real:
        print(f"{k:12} {real[k][0]:.4f} {real[k][1]:.4f}   {soft[k][0]:.4f} {soft[k][1]:.4f}", flush=True)


def main() -> None:
    o = arguments("Train the judge", images=300_000, batch=128, lr=2e-3, vae="vae/final", softened=12_000)
    data, truth = Images(o.data, "train"), [factors(r) for r in rows(o.data, "train")]
    classes = classes_of(truth)
    labels = targets(truth, classes).to(o.device)
    soft = Softened(data, Path(o.vae), o.out / "softened.safetensors", count=o.softened, device=o.device, seed=o.seed)
    net = Net(sum(map(len, classes.values()))).to(o.device, memory_format=torch.channels_last)
    run = Run(net, o.out / "state.safetensors", images=o.images, batch=o.batch, lr=o.lr, ema=0.998)

    def batch(index: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Augmented images and their labels; every fourth is one that went through the VAE."""
        picks, index, x = rng.integers(o.softened, size=len(index[::4])), index.copy(), data.batch(index, o.device)
        index[::4], x[::4] = soft.index[picks], soft.batch(picks, o.device)
        return augment(shifted(x, rng)).contiguous(memory_format=torch.channels_last), labels[index]

    def loss_of(index: np.ndarray) -> tuple[Tensor, str]:
        x, y = batch(index, np.random.default_rng((o.seed, 4, run.step)))
        with torch.autocast(o.device.type, torch.bfloat16):
            losses = factor_losses(net(x), y, classes)
        return torch.stack(list(losses.values())).mean(), " ".join(f"{k} {v:.2f}" for k, v in losses.items())

    run.train(len(data), o.seed, loss_of)
    run.use_ema()
    rng = np.random.default_rng((o.seed, 5))
    settle(net, (batch(np.sort(rng.integers(len(data), size=o.batch)), rng)[0] for _ in range(40)))
    finish(net, classes, o.out / "final")
    report(Judge(o.out / "final", o.device), Images(o.data, "held"), [factors(r) for r in rows(o.data, "held")], Path(o.vae), o.device)


if __name__ == "__main__":
    main()
