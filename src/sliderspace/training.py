"""The cosine objective and its loop, a generator. An update is one forward and one backward of denoiser, decoder and encoder.

Every optimiser step moves every slider, each by its own gradient: lane k is slider k at a stored (xₜ, φ) drawn by (seed, update, k).
The result does not depend on how lanes are split into micro-batches.
"""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from sliderspace.backbones.base import Backbone, Condition
from sliderspace.directions import Directions
from sliderspace.encoders import Encoder
from sliderspace.errors import TrainingFailed
from sliderspace.rng import generator_for
from sliderspace.sliders import SliderBank
from sliderspace.store import load_tensors, save_tensors, stored_fingerprint
from sliderspace.trajectories import Trajectories

SMOOTH = 0.02  # keeps the cosine's gradient finite at Δφ = 0; embeddings are unit vectors, so this is a 50th of their length
SIZES = (0.5, 1.0, 2.0, 3.0)  # strengths trained with the size term, so that strength and effect stay proportional over a whole sweep


@dataclass(frozen=True)
class Recipe:
    """How sliders are trained.

    `objective="published"` is 1 − cos(Δφ, v) at strength 1, which says nothing of size. "sized" adds `size_weight`·(Δφ·v/target − 1)² with
    target = strength × the standard deviation of finished images along v: images stay whole, effects proportional, and one raw strength
    near one unit. `both_signs` trains −s toward −v.
    `until` is the share of embedded steps trained on, the noisiest first: late previews are all but settled, and what still moves φ there
    is texture that no finished image shows.
    `hold` weighs, with the size term, how far Δφ moves along the other directions, as a share of the move asked for, squared.
    """

    updates: int
    lr: float
    objective: Literal["published", "sized", "customised"] = "sized"
    both_signs: bool = True
    until: float = 0.6
    size_weight: float = 0.5
    hold: float = 0.0
    lanes: int = 16
    warmup: float = 0.05
    check_every: int = 50


@dataclass(frozen=True)
class Lanes:
    """A batch of training rows: slider, trajectory, embedded step and signed strength of each."""

    slider_B: Tensor
    trajectory_B: Tensor
    step_B: Tensor
    strength_B: Tensor

    def rows(self, part: slice) -> "Lanes":
        return Lanes(self.slider_B[part], self.trajectory_B[part], self.step_B[part], self.strength_B[part])


@dataclass(frozen=True)
class Update:
    """What one optimiser step saw: mean loss and alignment of its lanes, and held-out alignment where it was measured."""

    index: int
    loss: float
    alignment: float
    held_out: float | None


def draw(recipe: Recipe, sliders: int, trajectories: int, steps: int, seed: int, purpose: str, index: int) -> Lanes:
    """One lane a slider: a function of (seed, purpose, index) and of nothing else."""
    rng = generator_for(seed, purpose, index)
    sizes = np.array(SIZES if recipe.objective == "sized" else (1.0,))
    sign = rng.choice([-1.0, 1.0], sliders) if recipe.both_signs else np.ones(sliders)
    strength = sign * rng.choice(sizes, sliders)
    return Lanes(
        torch.arange(sliders),
        torch.from_numpy(rng.integers(trajectories, size=sliders)),
        torch.from_numpy(rng.integers(steps, size=sliders)),
        torch.from_numpy(strength).float(),
    )


class Objective:
    """Lanes -> (loss, alignment) a lane, on fixed stored trajectories and directions."""

    def __init__(
        self, backbone: Backbone, encoder: Encoder, condition: Condition, bank: SliderBank, directions: Directions, recipe: Recipe
    ) -> None:
        self.backbone, self.encoder, self.condition, self.bank, self.recipe = backbone, encoder, condition, bank, recipe
        self.lanes = recipe.lanes
        device = backbone.device
        self.v_KD = torch.from_numpy(directions.components_KD).float().to(device)
        # The last embedded step is the finished image. Its spread is the target at every step: with each step's own, far smaller at the
        # noisy steps, sliders came out three times too weak, and swept images smeared at strengths training had never seen (docs/log.md).
        self.sigma_K = torch.from_numpy(directions.sigma_TK[-1]).float().clamp(min=1e-4).to(device)

    def __call__(self, data: Trajectories, lanes: Lanes) -> tuple[Tensor, Tensor]:
        with self._sliders_on(lanes):
            return self._judged(self._delta(data, lanes), lanes)

    def descend(self, data: Trajectories, lanes: Lanes) -> tuple[Tensor, Tensor]:
        """The same with a backward pass, the sliders still on: gradient checkpointing runs parts of the denoiser again there."""
        with self._sliders_on(lanes):
            loss_B, cos_B = self._judged(self._delta(data, lanes), lanes)
            loss_B.sum().backward()  # a sum: each slider's gradient is its own, however many share the step
        return loss_B.detach(), cos_B

    def delta(self, data: Trajectories, lanes: Lanes) -> Tensor:
        """Δφ [B, D] = φ(x̃₀,t with the lane's slider) − the stored φ(x̃₀,t) without, at the same xₜ, t and prompt (paper, step 3)."""
        with self._sliders_on(lanes):
            return self._delta(data, lanes)

    def _sliders_on(self, lanes: Lanes) -> AbstractContextManager[None]:
        """Row b runs with the slider and the strength of lane b."""
        s_BK = torch.zeros(len(lanes.slider_B), len(self.bank), device=self.backbone.device)
        s_BK[torch.arange(len(s_BK)), lanes.slider_B] = lanes.strength_B.to(s_BK)
        return self.bank.active(s_BK)

    def _delta(self, data: Trajectories, lanes: Lanes) -> Tensor:
        device = self.backbone.device
        x = data.x_NTCHW[lanes.trajectory_B, lanes.step_B].float().to(device)
        without = data.z_NTD[lanes.trajectory_B, lanes.step_B].to(device)
        rows = self.condition.rows(data.prompt_N[lanes.trajectory_B].tolist())
        x0 = self.backbone.predict(x, data.steps_T[lanes.step_B].to(device), rows)
        return self.encoder(self.backbone.decode(x0)) - without

    def _judged(self, delta_BD: Tensor, lanes: Lanes) -> tuple[Tensor, Tensor]:
        toward_BD = lanes.strength_B.sign().unsqueeze(1).to(delta_BD) * self.v_KD[lanes.slider_B]
        along_B = (delta_BD * toward_BD).sum(1)
        cos_B = along_B / (delta_BD.square().sum(1) + SMOOTH**2).sqrt()
        loss_B = 1 - cos_B
        if self.recipe.objective == "sized":
            target_B = lanes.strength_B.abs().to(delta_BD) * self.sigma_K[lanes.slider_B]
            loss_B = loss_B + self.recipe.size_weight * (along_B / target_B - 1).square()
            if self.recipe.hold:
                elsewhere_B = (delta_BD @ self.v_KD.T).square().sum(1) - along_B.square()
                loss_B = loss_B + self.recipe.hold * elsewhere_B / target_B.square()
        return loss_B, cos_B.detach()


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
                key: state[f"adam/{n}/{key}"].to("cpu" if key == "step" else p.device) for key in ("step", "exp_avg", "exp_avg_sq")
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


def _update(objective: Objective, data: Trajectories, lanes: Lanes, adam: torch.optim.Adam, index: int) -> tuple[float, float]:
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
    """Loss and alignment of all lanes, gradients in place. Too little memory: half the lanes at a time, the result is the same."""
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
            f"training broke down at update {index}: not a finite number, at learning rate {lr:g}.\nLower --lr, or use --precision float32."
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
