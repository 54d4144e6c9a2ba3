"""The cosine objective and its loop, a generator. An update is one forward and one backward of denoiser, decoder and
encoder.

Every optimiser step moves every slider, each by its own gradient: lane k is slider k at a stored (xₜ, φ) drawn by
(seed, update, k). The result does not depend on how lanes are split into micro-batches.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from sliderspace.core.errors import TrainingFailed
from sliderspace.method.objective import Lanes, Objective, Recipe, draw
from sliderspace.method.sliders import SliderBank
from sliderspace.method.trajectories import Trajectories
from sliderspace.storage.files import load_tensors, save_tensors, stored_fingerprint


@dataclass(frozen=True)
class Update:
    """What one optimiser step saw: mean loss and alignment of its lanes, and held-out alignment where it was
    measured."""

    index: int
    loss: float
    alignment: float
    held_out: float | None


def learning_rate(recipe: Recipe, index: int) -> float:
    """Linear warm-up, then a cosine down to a twentieth."""
    begin = max(1, round(recipe.warmup * recipe.updates))
    progress = min(1.0, max(0.0, (index - begin) / max(1, recipe.updates - begin)))
    return recipe.lr * min(1.0, (index + 1) / begin) * (0.525 + 0.475 * math.cos(math.pi * progress))


class _Checkpoint:
    """Slider values and Adam's state in one file, so that a killed training goes on as if nothing had happened."""

    def __init__(self, path: Path, fingerprint: str, bank: SliderBank, adam: torch.optim.Adam) -> None:
        self.path, self.fingerprint, self.bank, self.adam = path, fingerprint, bank, adam
        self.named = [(n, p) for n, p in bank.named_parameters() if p.requires_grad]

    def save(self, update: int, history: list[list[float]]) -> None:
        state = {f"bank/{n}": t for n, t in self.bank.tensors().items()}
        state |= {f"adam/{n}/{key}": value for n, p in self.named for key, value in self.adam.state[p].items()}
        save_tensors(self.path, state, kind="training", fingerprint=self.fingerprint, update=update, history=history)

    def load(self) -> tuple[int, list[list[float]]]:
        if not self.path.exists() or stored_fingerprint(self.path) != self.fingerprint:
            return 0, []
        state, meta = load_tensors(self.path, kind="training")
        self.bank.load_tensors({n.removeprefix("bank/"): t for n, t in state.items() if n.startswith("bank/")})
        for n, p in self.named:
            self.adam.state[p] = {
                key: state[f"adam/{n}/{key}"].to("cpu" if key == "step" else p.device)
                for key in ("step", "exp_avg", "exp_avg_sq")
            }
        return int(meta["update"]), [list(map(float, h)) for h in meta["history"]]


def train(
    objective: Objective, data: Trajectories, held_out: Trajectories, *, seed: int, checkpoint: Path, fingerprint: str
) -> Iterator[Update]:
    """Train every slider of the objective's bank; yields one record an update, from where an earlier run stopped.

    Raises TrainingFailed at a loss or gradient that is not finite; the checkpoint then holds the last good state.
    """
    recipe, bank = objective.recipe, objective.bank
    adam = torch.optim.Adam(bank.trained(), lr=recipe.lr, betas=(0.9, 0.98))
    store = _Checkpoint(checkpoint, fingerprint, bank, adam)
    done, history = store.load()
    steps = math.ceil(recipe.until * len(data.steps_T))
    yield from (Update(int(i), loss, cos, held) for i, loss, cos, held in history)
    for index in range(done, recipe.updates):
        lanes = draw(recipe, len(bank), len(data), steps, seed, "lane", index)
        loss, cos = _update(objective, data, lanes, adam, index)
        last = index + 1 == recipe.updates
        held = held_alignment(objective, held_out, seed) if last or (index + 1) % recipe.check_every == 0 else None
        if held is not None:
            _check_finite(held, True, index, recipe.lr)
            history.append([float(index), loss, cos, held])
            store.save(index + 1, history)
        yield Update(index, loss, cos, held)


def _update(
    objective: Objective, data: Trajectories, lanes: Lanes, adam: torch.optim.Adam, index: int
) -> tuple[float, float]:
    """One optimiser step over all sliders, in micro-batches of lanes."""
    loss_B, cos_B = _descend(objective, data, lanes, adam)
    loss = float(loss_B.mean())
    whole = all(bool(torch.isfinite(p.grad).all()) for p in objective.bank.trained() if p.grad is not None)
    _check_finite(loss, whole, index, objective.recipe.lr)
    for group in adam.param_groups:
        group["lr"] = learning_rate(objective.recipe, index)
    adam.step()
    return loss, float(cos_B.mean())


def _descend(objective: Objective, data: Trajectories, lanes: Lanes, adam: torch.optim.Adam) -> list[Tensor]:
    """Loss and alignment of all lanes, gradients in place. Too little memory: half the lanes at a time, the result is
    the same."""
    while True:
        adam.zero_grad(set_to_none=True)
        try:
            parts = [objective.descend(data, lanes.rows(part)) for part in _parts(len(lanes.slider_B), objective.lanes)]
            return [torch.cat(found) for found in zip(*parts, strict=True)]
        except torch.OutOfMemoryError as error:
            if objective.lanes == 1:
                advice = "Try --checkpointing, --quantize 4bit or a smaller --resolution."
                raise TrainingFailed(f"the device's memory does not hold one slider's update.\n{advice}") from error
        objective.lanes = max(1, objective.lanes // 2)
        torch.cuda.empty_cache()


def _check_finite(value: float, gradients: bool, index: int, lr: float) -> None:
    """TrainingFailed before a value that is no number reaches the sliders or the checkpoint."""
    if not (math.isfinite(value) and gradients):
        raise TrainingFailed(
            f"training broke down at update {index}: not a finite number, at learning rate {lr:g}.\nLower --lr, or "
            f"use --precision float32."
        )


def _parts(count: int, size: int) -> Iterator[slice]:
    return (slice(i, min(i + size, count)) for i in range(0, count, size))


@torch.no_grad()
def held_alignment(objective: Objective, held_out: Trajectories, seed: int, rounds: int = 2) -> float:
    """Mean preview alignment on held-out trajectories over all embedded steps, the same lanes at every call."""
    cosines: list[Tensor] = []
    for r in range(rounds):
        lanes = draw(objective.recipe, len(objective.bank), len(held_out), len(held_out.steps_T), seed, "held-lane", r)
        cosines += [objective(held_out, lanes.rows(part))[1] for part in _parts(len(lanes.slider_B), objective.lanes)]
    return float(torch.cat(cosines).mean())
