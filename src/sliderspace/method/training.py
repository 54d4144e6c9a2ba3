"""The cosine objective and its loop, a generator. An update is one forward and one backward of denoiser, decoder and
encoder.

Every optimiser step moves every slider, each by its own gradient: lane k is slider k at a stored (xₜ, φ) drawn by
(seed, update, k). So a group of sliders trained alone ends as it does among all: to the bit where it is one
micro-batch there, to a rounding otherwise.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from sliderspace.core.batches import BatchSize
from sliderspace.core.errors import TrainingFailed
from sliderspace.method.objective import LaneLoss, Lanes, Recipe, draw
from sliderspace.method.sliders import SliderBank
from sliderspace.method.trajectories import Trajectories
from sliderspace.storage.files import load_tensors, save_tensors, stored_fingerprint


@dataclass(frozen=True)
class Update:
    """What one optimiser step saw: mean loss and alignment of its lanes, and each slider's held-out alignment where
    it was measured."""

    index: int
    loss: float
    alignment: float
    held_out_K: tuple[float, ...] | None = None


def learning_rate(recipe: Recipe, index: int) -> float:
    """Linear warm-up, then a cosine down to a twentieth."""
    begin = max(1, round(recipe.warmup * recipe.updates))
    progress = min(1.0, max(0.0, (index - begin) / max(1, recipe.updates - begin)))
    return recipe.lr * min(1.0, (index + 1) / begin) * (0.525 + 0.475 * math.cos(math.pi * progress))


class _Checkpoint:
    """Slider values and Adam's state in one file, so that a killed training goes on as if nothing had happened."""

    def __init__(self, path: Path, fingerprint: str, bank: SliderBank, adam: torch.optim.Adam) -> None:
        self.path = path
        self.fingerprint = fingerprint
        self.bank = bank
        self.adam = adam
        self.named = [(n, p) for n, p in bank.named_parameters() if p.requires_grad]

    def save(self, history: Sequence[Update]) -> None:
        state = {f"bank/{n}": t for n, t in self.bank.tensors().items()}
        state |= {f"adam/{n}/{key}": value for n, p in self.named for key, value in self.adam.state[p].items()}
        listed = [asdict(update) for update in history]
        save_tensors(self.path, state, kind="training", fingerprint=self.fingerprint, history=listed)

    def load(self) -> list[Update]:
        if not self.path.exists() or stored_fingerprint(self.path) != self.fingerprint:
            return []
        state, meta = load_tensors(self.path, kind="training")
        if any(f"adam/{n}/step" not in state for n, _ in self.named):
            return []  # an earlier version's: a training without Adam's state would be another
        self.bank.load_tensors({n.removeprefix("bank/"): t for n, t in state.items() if n.startswith("bank/")})
        for n, p in self.named:
            self.adam.state[p] = {
                key: state[f"adam/{n}/{key}"].to(p.device) for key in ("step", "exp_avg", "exp_avg_sq")
            }
        return [Update(h["index"], h["loss"], h["alignment"], tuple(h["held_out_K"])) for h in meta["history"]]


def train(
    objective: LaneLoss,
    data: Trajectories,
    held_out: Trajectories,
    *,
    seed: int,
    lanes: int | BatchSize,
    checkpoint: Path,
    fingerprint: str,
) -> Iterator[Update]:
    """Train every slider of the objective's bank, `lanes` at a time; yields one record an update, from where an earlier
    run stopped.

    Raises TrainingFailed at a loss or gradient that is not finite; the checkpoint then holds the last good state.
    """
    recipe, bank = objective.recipe, objective.bank
    size = BatchSize(lanes) if isinstance(lanes, int) else lanes
    adam = torch.optim.Adam(bank.trained(), lr=recipe.lr, betas=(0.9, 0.98), fused=True)
    store = _Checkpoint(checkpoint, fingerprint, bank, adam)
    history = store.load()
    steps = math.ceil(round(recipe.until * len(data.steps_T), 6))  # .55 of 20 are 11
    yield from history
    for index in range(history[-1].index + 1 if history else 0, recipe.updates):
        drawn = draw(recipe, bank.indices, len(data), steps, seed, "lane", index)
        update = _update(objective, data, drawn, adam, index, size)
        if index + 1 == recipe.updates or (index + 1) % recipe.interval == 0:
            held_K = held_alignment(objective, held_out, seed, size)
            _check_finite(sum(held_K), True, index, recipe.lr)
            update = replace(update, held_out_K=tuple(held_K))
            history.append(update)
            store.save(history)
        yield update


def _update(
    objective: LaneLoss, data: Trajectories, lanes: Lanes, adam: torch.optim.Adam, index: int, size: BatchSize
) -> Update:
    """One optimiser step over all sliders, in micro-batches of lanes."""
    loss_B, cos_B = _descend(objective, data, lanes, adam, size)
    loss = float(loss_B.mean())
    gradients = [p.grad for p in objective.bank.trained() if p.grad is not None]
    whole = math.isfinite(float(torch.nn.utils.get_total_norm(gradients)))
    _check_finite(loss, whole, index, objective.recipe.lr)
    for group in adam.param_groups:
        group["lr"] = learning_rate(objective.recipe, index)
    adam.step()
    return Update(index, loss, float(cos_B.mean()))


def _descend(
    objective: LaneLoss, data: Trajectories, lanes: Lanes, adam: torch.optim.Adam, size: BatchSize
) -> list[Tensor]:
    """Loss and alignment of all lanes, gradients in place. Too little memory: half the lanes at a time from now on."""
    while True:
        adam.zero_grad(set_to_none=True)
        tried = min(size.size, len(lanes.slider_B))
        try:
            parts = [objective.descend(data, lanes.rows(part)) for part in _parts(len(lanes.slider_B), tried)]
            return [torch.cat(found) for found in zip(*parts, strict=True)]
        except torch.OutOfMemoryError as error:
            if not size.halve(tried):
                advice = "Try --checkpointing, --quantize 4bit or a smaller --resolution."
                raise TrainingFailed(f"the device's memory does not hold one slider's update.\n{advice}") from error


def _check_finite(value: float, gradients: bool, index: int, lr: float) -> None:
    """TrainingFailed before a value that is no number reaches the sliders or the checkpoint."""
    if not (math.isfinite(value) and gradients):
        raise TrainingFailed(
            f"training broke down at update {index}: not a finite number, at learning rate {lr:g}.\n"
            "Lower --lr, or use --precision float32."
        )


def _parts(count: int, size: int) -> Iterator[slice]:
    return (slice(i, min(i + size, count)) for i in range(0, count, size))


@torch.no_grad()
def held_alignment(
    objective: LaneLoss, held_out: Trajectories, seed: int, size: BatchSize, rounds: int = 2
) -> list[float]:
    """Mean preview alignment of each slider on held-out trajectories over all embedded steps, the same lanes at every
    call."""
    found: list[Tensor] = []
    for r in range(rounds):
        steps = len(held_out.steps_T)
        lanes = draw(objective.recipe, objective.bank.indices, len(held_out), steps, seed, "held-out lane", r)
        parts = [objective(held_out, lanes.rows(part))[1] for part in _parts(len(lanes.slider_B), size.size)]
        found.append(torch.cat(parts))
    return torch.stack(found).mean(0).tolist()
