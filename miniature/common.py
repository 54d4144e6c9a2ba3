"""What every training script of the miniature shares: the rendered images, and a loop that can be stopped at any
moment.

Checkpoints are safetensors files written under a temporary name and renamed, so a killed run continues where it
stopped.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

UNNAMED = -100  # cross_entropy's own "ignore": the part has no word, so no answer is wrong
Classes = Mapping[str, Sequence[str]]


def images(folder: Path, split: str, size: int) -> list[np.ndarray]:
    """The rendered shards `split*.rgb` of a folder, memory-mapped: arrays uint8 [N, size, size, 3]."""
    shards = sorted(folder.glob(f"{split}*.rgb"))
    if not shards:
        raise SystemExit(f"no {split}*.rgb in {folder}: render them first (see miniature/README.md)")
    return [np.memmap(path, np.uint8, "r").reshape(-1, size, size, 3) for path in shards]


class Images:
    """All shards of a split as one array of float images in [0, 1]."""

    def __init__(self, folder: Path, split: str, size: int) -> None:
        self.array = np.concatenate(images(folder, split, size))

    def __len__(self) -> int:
        return len(self.array)

    def batch(self, index: np.ndarray, device: torch.device) -> Tensor:
        """images01 [B, 3, size, size], channels last."""
        x_BHWC = torch.from_numpy(self.array[index]).to(device).float().div_(255)
        return x_BHWC.permute(0, 3, 1, 2)


def split(logits: Tensor, classes: Classes) -> dict[str, Tensor]:
    return dict(zip(classes, logits.split([len(c) for c in classes.values()], 1), strict=True))


def factor_losses(logits: Tensor, labels: Tensor, classes: Classes) -> dict[str, Tensor]:
    """Cross-entropy of each factor (0 where a batch has no word for it); logits [B, all classes], labels [B,
    factors]."""
    sums = {
        k: nn.functional.cross_entropy(part.float(), labels[:, i], reduction="sum", ignore_index=UNNAMED)
        for i, (k, part) in enumerate(split(logits, classes).items())
    }
    return {k: total / (labels[:, i] != UNNAMED).sum().clamp(min=1) for i, (k, total) in enumerate(sums.items())}


def augment(x01: Tensor) -> Tensor:
    """Half the images untouched; the rest made smaller and larger again, or noised, as previews look."""
    small = nn.functional.interpolate(
        x01, scale_factor=float(torch.empty(1).uniform_(0.25, 0.75)), mode="bilinear", antialias=True
    )
    blurred = nn.functional.interpolate(small, size=x01.shape[-2:], mode="bilinear")
    share = torch.rand(len(x01), 1, 1, 1, device=x01.device)
    mixed = torch.where(share < 0.25, blurred, x01)
    return (mixed + (share > 0.7) * 0.08 * torch.randn_like(x01)).clamp(0, 1)


def arguments(description: str, *, data: bool = True, **defaults: object) -> argparse.Namespace:
    """The options of a training: those of every one, `--data` where it needs rendered pictures, and its own."""
    parser = argparse.ArgumentParser(description=description)
    if data:
        parser.add_argument("--data", type=Path, required=True, help="folder of rendered shards")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints and the finished part")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (0: torch's default)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seed", type=int, default=0)
    for name, value in defaults.items():
        parser.add_argument(f"--{name}", type=type(value), default=value)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    options.device = torch.device(options.device)
    return options


class Run:
    """AdamW with a warm-up, a plateau and a linear cool-down, an EMA of the weights, and a checkpoint every minute.

    The plateau makes the length free: a run resumed with a larger `images` goes on as if it had been asked for that
    from the start, so long as its cool-down (the last fifth) had not begun. Parts named in `quick` learn at a
    multiple of the rate.
    """

    def __init__(
        self,
        model: nn.Module,
        path: Path,
        *,
        images: int,
        batch: int,
        lr: float,
        decay: float = 0.01,
        ema: float = 0.999,
        warmup: int = 200,
        betas: tuple[float, float] = (0.9, 0.98),
        quick: Mapping[str, float] | None = None,
    ) -> None:
        self.model, self.path, self.total, self.size = model, path, images, batch
        self.lr, self.warmup, self.ema_rate = lr, warmup, ema
        self.named = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self.ema = {n: p.detach().clone() for n, p in self.named.items()}
        times = {n: (quick or {}).get(n.partition(".")[0], 1.0) for n in self.named}
        groups = [
            {"params": [p for n, p in self.named.items() if times[n] == many], "times": many}
            for many in sorted({*times.values()})
        ]
        self.optimiser = torch.optim.AdamW(groups, lr=lr, weight_decay=decay, betas=betas)
        self.step = self.seen = 0
        if path.exists():
            self._load()

    def rate(self) -> float:
        rest = (self.total - self.seen) / (0.2 * self.total)
        return self.lr * min(1.0, (self.step + 1) / self.warmup, max(rest, 0.0))

    def batches(self, count: int, seed: int) -> Iterator[np.ndarray]:
        """Indices [batch] below `count`; batch number k is a function of (seed, k), whatever was interrupted before."""
        while self.seen < self.total:
            yield np.sort(np.random.default_rng((seed, self.step)).integers(count, size=self.size))

    def update(self, loss: Tensor) -> None:
        if not torch.isfinite(loss):
            raise SystemExit(
                f"loss is {loss.item()} at step {self.step}: lower the learning rate; {self.path} holds the last "
                f"good state"
            )
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate() * group["times"]
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.named.values(), 1.0)
        self.optimiser.step()
        rate = min(self.ema_rate, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self.ema.values()), [p.detach() for p in self.named.values()], 1 - rate)
        self.step, self.seen = self.step + 1, self.seen + self.size

    def save(self) -> None:
        state: dict[str, Tensor] = {}
        for n, p in self.named.items():
            state[f"model/{n}"], state[f"ema/{n}"] = p.detach(), self.ema[n]
            for key, value in self.optimiser.state.get(p, {}).items():
                state[f"adam/{n}/{key}"] = value
        temporary = self.path.with_suffix(".tmp")
        save_file(
            {k: v.contiguous().cpu() for k, v in state.items()},
            temporary,
            {"step": str(self.step), "seen": str(self.seen)},
        )
        temporary.rename(self.path)

    def _load(self) -> None:
        with safe_open(self.path, "pt") as file:
            meta, keys = file.metadata(), set(file.keys())
            self.step, self.seen = int(meta["step"]), int(meta["seen"])
            for n, p in self.named.items():
                p.data.copy_(file.get_tensor(f"model/{n}"))
                self.ema[n].copy_(file.get_tensor(f"ema/{n}"))
                self.optimiser.state[p] = {
                    k: file.get_tensor(f"adam/{n}/{k}").to(p.device if k != "step" else "cpu")
                    for k in ("step", "exp_avg", "exp_avg_sq")
                    if f"adam/{n}/{k}" in keys
                }

    def use_ema(self) -> None:
        """Put the averaged weights into the model; call when training is over."""
        for n, p in self.named.items():
            p.data.copy_(self.ema[n])

    def train(self, count: int, seed: int, loss_of: Callable[[np.ndarray], tuple[Tensor, str]]) -> None:
        """Run to the end, printing a line and saving every minute."""
        begin, first, last = time.time(), self.seen, time.time()
        for index in self.batches(count, seed):
            loss, text = loss_of(index)
            self.update(loss)
            if time.time() - last > 60 or self.seen >= self.total:
                last = time.time()
                speed = (self.seen - first) / (last - begin)
                print(
                    f"{self.seen:>8} images  step {self.step}  {speed:.0f}/s  loss {loss.item():.4f}  {text}",
                    flush=True,
                )
                self.save()
