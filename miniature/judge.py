"""Trains the judge: a small reader of a creature's true factors, with which the model and its sliders are measured.

    python judge.py --data DATA --out OUT/judge --vae OUT/vae/final --images 250000

It looks at pictures reduced to 64 pixels and learns from real renders only: as they are, blurred or noised as previews
are, and a quarter of each batch through the VAE with noise on its latents, because all that the model draws comes out
of that decoder. A continuous factor is read as one of five steps; the number it stands for is the mean of the steps'
centres under the judge's probabilities, and R² is that number's. Nothing that is trained later sees the judge."""

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from classes import CHOICES, Bins, chosen, hidden, seen, table
from common import Images, Run, arguments, augment, factor_losses
from diffusers import AutoencoderKL
from factors import Creature
from render import SIZE
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from styles import HIDES
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad
from vae import load

from sliderspace.models.encoders.judge import MODEL_TYPE
from sliderspace.models.encoders.judge import Judge as Network

SEEN = 64  # pixels a side of what it looks at
# A colour is counted by its name and how light it is, marks by their kind: else a slider of one colour moves three
# factors. Taught all the same.
TWICE = ("body_red", "body_yellow", "ground_red", "ground_yellow", "marks")


class Judge:
    """A trained judge, from the folder `final` of a run or from the shipped model."""

    def __init__(self, folder: Path, device: torch.device | str = "cpu") -> None:
        config = json.loads((folder / "config.json").read_text())
        classes, numbers = config["classes"], config["numbers"]
        self.network = Network(classes)
        values = load_file(folder / "model.safetensors")
        self.network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in values.items()})
        self.network.to(device, memory_format=torch.channels_last).eval()
        self.classes, self.choices = classes, [k for k in CHOICES if k in classes]
        self.centres = {k: torch.tensor(v, device=device) for k, v in numbers.items()}

    @torch.no_grad()
    def read(self, x01: Tensor) -> tuple[dict[str, list[str]], dict[str, Tensor]]:
        """Choices [B names] and numbers [B] of pictures in [0, 1], [B, 3, side, side]."""
        logits = self.network.logits(self.network(small(x01.float()) * 2 - 1))
        choices = {k: [self.classes[k][i] for i in logits[k].argmax(1).tolist()] for k in self.choices}
        return choices, {k: logits[k].softmax(1) @ centre for k, centre in self.centres.items()}


def small(x01: Tensor) -> Tensor:
    return interpolate(x01, size=(SEEN, SEEN), mode="bilinear", antialias=True)


@torch.no_grad()
def through(vae: AutoencoderKL, data: Images, index: np.ndarray, device: torch.device) -> Iterator[Tensor]:
    """Decodings uint8 [<=50, 3, SEEN, SEEN] of the pictures' latents with noise of up to 0.4 standard deviations."""
    for part in np.array_split(index, -(-len(index) // 50)):
        with torch.autocast(device.type, torch.bfloat16):
            z = vae.encode(data.batch(part, device) * 2 - 1).latent_dist.mean
            spread = 0.4 / vae.config.scaling_factor * torch.rand(len(z), 1, 1, 1, device=device)
            y = vae.decode(z + spread * torch.randn_like(z)).sample
        yield (small(y.float().clamp(-1, 1).add(1).div(2)) * 255).round().byte().contiguous().cpu()


class Softened:
    """`count` training pictures as the VAE gives them back, uint8 [count, 3, SEEN, SEEN], kept in a file."""

    def __init__(self, data: Images, vae: Path, path: Path, *, count: int, device: torch.device, seed: int) -> None:
        index = np.sort(np.random.default_rng((seed, 3)).choice(len(data), count, replace=False))
        if not path.exists():
            pictures = torch.cat(list(through(load(vae, device), data, index, device)))
            save_file({"images": pictures, "index": torch.from_numpy(index)}, path)
        with safe_open(path, "pt") as file:
            self.images, self.index = file.get_tensor("images"), file.get_tensor("index").numpy()

    def batch(self, picks: np.ndarray, device: torch.device) -> Tensor:
        return self.images[picks].to(device).float().div_(255)


def shifted(x01: Tensor, rng: np.random.Generator) -> Tensor:
    """All pictures of a batch moved by up to two pixels, their borders repeated."""
    top, left = rng.integers(5, size=2)
    return pad(x01, (2, 2, 2, 2), mode="replicate")[..., top : top + SEEN, left : left + SEEN]


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


@dataclass(frozen=True)
class Score:
    """How well a factor is read. `skill` is 0 for what knows no picture and 1 for what is always right, of both
    kinds."""

    plain: float  # accuracy of a choice, R² of a number
    skill: float


def scores(judge: Judge, pictures: Iterator[Tensor], creatures: list[Creature]) -> dict[str, Score]:
    """Of every choice, and every number that the style shows; pictures in the order of creatures."""
    reads = [judge.read(x) for x in pictures]
    out = {}
    for k in judge.choices:
        answers = zip((a for choices, _ in reads for a in choices[k]), map(chosen, creatures), strict=False)
        pairs = [(a, known[k]) for a, known in answers if k in known]
        right = float(np.mean([a == true for a, true in pairs]))
        guessed = max(Counter(true for _, true in pairs).values()) / len(pairs)  # by always saying the commonest
        out[k] = Score(right, (right - guessed) / (1 - guessed))
    for k in judge.centres:
        answer = torch.cat([numbers[k] for _, numbers in reads]).cpu().numpy()
        true = np.array([seen(c)[k] for c in creatures[: len(answer)]])
        there = ~np.isnan(true)
        r2 = 1 - float(((answer - true)[there] ** 2).mean() / true[there].var())
        out[k] = Score(r2, r2)
    return out


def finish(net: Network, numbers: Mapping[str, list[float]], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    values = {k: (v.half() if v.is_floating_point() else v).contiguous().cpu() for k, v in net.state_dict().items()}
    save_file(values, out / "model.safetensors", {"format": "pt"})
    write_config(out, {"model_type": MODEL_TYPE, "classes": net.classes, "numbers": numbers})
    look = {"size": {"height": SEEN, "width": SEEN}, "resample": 2, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (out / "preprocessor_config.json").write_text(json.dumps(look, indent=1) + "\n")


def write_config(folder: Path, config: Mapping[str, object]) -> None:
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")


def report(judge: Judge, held: Images, creatures: list[Creature], vae: Path, device: torch.device) -> dict[str, float]:
    """Print how well each factor is read; returns its skill on pictures that went through the VAE."""
    real = scores(judge, (held.batch(i, device) for i in np.array_split(np.arange(len(held)), 20)), creatures)
    soft = scores(
        judge, (y.to(device) / 255 for y in through(load(vae, device), held, np.arange(1000), device)), creatures
    )
    print("held out: accuracy of choices, R² of numbers, on real renders; through the VAE with noise")
    for k in real:
        print(f"{k:14} {real[k].plain:.3f}   {soft[k].plain:.3f}", flush=True)
    return {k: round(score.skill, 3) for k, score in soft.items()}


def without_unread(folder: Path, out: Path, least: float) -> list[str]:
    """A finished judge copied without the factors that count for nothing, those that it reads with less skill than
    `least` and those that say again what another says (TWICE); returns the names of the unread."""
    shutil.copytree(folder, out, dirs_exist_ok=True)
    config = json.loads((folder / "config.json").read_text())
    unread = [k for k in config["classes"] if config["skill"][k] < least]
    kept = {k: k not in (*unread, *TWICE) for k in config["classes"]}
    rows = torch.tensor([kept[k] for k, names in config["classes"].items() for _ in names])
    values = load_file(folder / "model.safetensors")
    values |= {name: values[name][rows].contiguous() for name in ("head.weight", "head.bias")}
    save_file(values, out / "model.safetensors", {"format": "pt"})
    parts = ("classes", "numbers", "skill")
    shown = {part: {k: v for k, v in config[part].items() if kept[k]} for part in parts}
    lost = {style: [k for k in hidden(style) if kept.get(k)] for style in HIDES}
    write_config(out, config | shown | {"hidden": lost})
    return unread


def main() -> None:
    o = arguments("Train the creatures' judge", images=250_000, batch=128, lr=2e-3, vae="vae/final", softened=8_000)
    torch.set_flush_denormal(True)
    data, creatures = Images(o.data, "train", SIZE), table(o.data, "train")
    bins = Bins(creatures)
    classes, labels = bins.classes(), bins.labels(creatures).to(o.device)
    soft = Softened(data, Path(o.vae), o.out / "softened.safetensors", count=o.softened, device=o.device, seed=o.seed)
    net = Network(classes).to(o.device, memory_format=torch.channels_last)
    run = Run(net, o.out / "state.safetensors", images=o.images, batch=o.batch, lr=o.lr, ema=0.998)

    def batch(index: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Augmented pictures and their labels; every fourth is one that went through the VAE."""
        picks, index, x = (
            rng.integers(len(soft.index), size=len(index[::4])),
            index.copy(),
            small(data.batch(index, o.device)),
        )
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
    final = o.out / "final"
    finish(net, bins.centres, final)
    held = (Images(o.data, "held", SIZE), table(o.data, "held"))
    skill = report(Judge(final, o.device), *held, Path(o.vae), o.device)
    write_config(final, json.loads((final / "config.json").read_text()) | {"skill": skill})


if __name__ == "__main__":
    main()
