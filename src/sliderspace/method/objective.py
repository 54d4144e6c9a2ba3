"""Stored (xₜ, φ) and directions -> the loss of a lane: one forward and one backward of denoiser, decoder and
encoder."""

from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from sliderspace.core.arrays import Array
from sliderspace.core.seeds import generator_for
from sliderspace.method.compiling import Backend, while_training
from sliderspace.method.denoise import predict
from sliderspace.method.directions import Directions
from sliderspace.method.sliders import SliderBank
from sliderspace.method.trajectories import Trajectories
from sliderspace.models.backbones.base import Backbone, Condition
from sliderspace.models.encoders import Encoder

# Keeps the cosine's gradient finite at Δφ = 0; embeddings are unit vectors, so this is a 50th of their length.
SMOOTH = 0.02
# Strengths trained with the size term, so that strength and effect stay proportional over a whole sweep.
SIZES = (0.5, 1.0, 2.0, 3.0)


@dataclass(frozen=True)
class Recipe:
    """How sliders are trained.

    `objective="published"` is 1 − cos(Δφ, v) at strength 1, which says nothing of size. "sized" adds
    `size_weight`·(Δφ·v/target − 1)² with target = strength × the standard deviation of finished images along v, more of
    it on the side to which they lie further (`Directions.sides`): images stay whole, effects proportional, and one raw
    strength near one unit. `both_signs` trains −s toward −v.
    `until` is the share of embedded steps trained on, the noisiest first.
    `hold` weighs, with the size term, how far Δφ moves along the other directions, as a share of the move asked for,
    squared. A checkpoint, and a look at held-out trajectories, comes every `check_every` updates; by default fifty, or
    a third of a short training.
    """

    updates: int
    lr: float
    objective: Literal["published", "sized", "customised", "concept"] = "sized"
    both_signs: bool = True
    until: float = 1.0
    size_weight: float = 0.5
    hold: float = 0.0
    warmup: float = 0.05
    check_every: int = 0

    @property
    def interval(self) -> int:
        """Updates from one checkpoint to the next."""
        return self.check_every or min(50, max(1, self.updates // 3))


@dataclass(frozen=True)
class Lanes:
    """A batch of training rows: place in the bank, trajectory, embedded step and signed strength of each."""

    slider_B: Tensor
    trajectory_B: Tensor
    step_B: Tensor
    strength_B: Tensor

    def rows(self, part: slice) -> "Lanes":
        return Lanes(self.slider_B[part], self.trajectory_B[part], self.step_B[part], self.strength_B[part])


def draw(
    recipe: Recipe, sliders: Sequence[int], trajectories: int, steps: int, seed: int, purpose: str, index: int
) -> Lanes:
    """One lane a slider: a function of (seed, purpose, index, slider), whatever other sliders there are."""
    lanes = [_lane(recipe, trajectories, steps, generator_for(seed, f"{purpose} {k}", index)) for k in sliders]
    trajectory_B, step_B, strength_B = zip(*lanes, strict=True)
    return Lanes(torch.arange(len(lanes)), torch.tensor(trajectory_B), torch.tensor(step_B), torch.tensor(strength_B))


def _lane(recipe: Recipe, trajectories: int, steps: int, rng: np.random.Generator) -> tuple[int, int, float]:
    """Trajectory, embedded step and signed strength."""
    sizes = SIZES if recipe.objective == "sized" else (1.0,)
    sign = rng.choice([-1.0, 1.0]) if recipe.both_signs else 1.0
    strength = float(sign * rng.choice(sizes))
    return int(rng.integers(trajectories)), int(rng.integers(steps)), strength


class LaneLoss(ABC):
    """Lanes -> (loss, alignment) a lane: what the training loop asks for. `alignment` is the cosine of what a slider
    does with what it is to do."""

    networks: tuple[str, ...] = ("guess",)  # the calls of networks that an update descends through

    def __init__(self, backbone: Backbone, condition: Condition, bank: SliderBank, recipe: Recipe) -> None:
        self.backbone = backbone
        self.condition = condition
        self.bank = bank
        self.recipe = recipe
        self.guess = partial(predict, backbone)

    @contextmanager
    def compiled(self, backend: Backend = "inductor") -> Generator[None]:
        """Within the block, updates run the networks as programs that torch.compile makes of them at the first one:
        minutes once, and then a quarter to a third less time. The same values to a rounding."""
        plain = {name: getattr(self, name) for name in self.networks}
        with self.bank.standing():
            vars(self).update({name: while_training(call, backend) for name, call in plain.items()})
            try:
                yield
            finally:
                vars(self).update(plain)
                torch.compiler.reset()  # these programs are of this bank's hooks; those of the next are others

    @abstractmethod
    def without(self, data: Trajectories, lanes: Lanes) -> Tensor:
        """What lanes are compared with: known, or computed without a slider and a gradient."""

    @abstractmethod
    def judged(self, data: Trajectories, lanes: Lanes, without: Tensor) -> tuple[Tensor, Tensor]:
        """(loss, alignment) [B], with the lanes' sliders on."""

    def __call__(self, data: Trajectories, lanes: Lanes) -> tuple[Tensor, Tensor]:
        without = self.without(data, lanes)
        with self.sliders_on(lanes):
            return self.judged(data, lanes, without)

    def descend(self, data: Trajectories, lanes: Lanes) -> tuple[Tensor, Tensor]:
        """The same with a backward pass, the sliders still on: gradient checkpointing runs parts of the denoiser again
        there."""
        without = self.without(data, lanes)
        with self.sliders_on(lanes):
            loss_B, cos_B = self.judged(data, lanes, without)
            loss_B.sum().backward()  # a sum: each slider's gradient is its own, however many share the step
        return loss_B.detach(), cos_B

    def sliders_on(self, lanes: Lanes) -> AbstractContextManager[None]:
        """Row b runs with the slider and the strength of lane b."""
        s_BK = torch.zeros(len(lanes.slider_B), len(self.bank), device=self.backbone.device)
        s_BK[torch.arange(len(s_BK)), lanes.slider_B] = lanes.strength_B.to(s_BK)
        return self.bank.active(s_BK)

    def shown(self, data: Trajectories, lanes: Lanes) -> tuple[Tensor, Condition]:
        """xₜ and the encoded prompt of each lane."""
        x = data.x(lanes.trajectory_B, lanes.step_B).to(self.backbone.device)
        return x, self.condition.rows(data.prompt_N[lanes.trajectory_B].tolist())


class Objective(LaneLoss):
    """The method's own: by an encoder, on fixed stored trajectories and directions."""

    networks = ("guess", "seen")

    def __init__(
        self,
        backbone: Backbone,
        encoder: Encoder,
        condition: Condition,
        bank: SliderBank,
        directions: Directions,
        recipe: Recipe,
        sides_K2: Array | None = None,
    ) -> None:
        super().__init__(backbone, condition, bank, recipe)
        self.encoder = encoder
        self.seen = lambda x0_BCHW: encoder(backbone.decode(x0_BCHW))
        device = backbone.device
        self.all_v_KD = (
            torch.from_numpy(directions.components_KD).float().to(device)
        )  # a bank may hold some of the sliders
        self.v_KD = self.all_v_KD[bank.indices]
        # The last embedded step is the finished image. Its spread is the target at every step: with each step's own,
        # far smaller at the noisy steps, sliders came out three times too weak, and swept images smeared at strengths
        # training had never seen (docs/log.md).
        sigma_K = torch.from_numpy(directions.sigma_TK[-1]).float().clamp(min=1e-4)
        # A slider that had to take away as much as it adds found something else to take where there was nothing: eyes
        # closed on monsters without antennae (docs/log.md).
        self.sides_K2 = np.ones((len(sigma_K), 2)) if sides_K2 is None else sides_K2
        self.size_K2 = (sigma_K[:, None] * torch.from_numpy(self.sides_K2).float()).to(device)[bank.indices]

    def without(self, data: Trajectories, lanes: Lanes) -> Tensor:
        return data.z_NTD[lanes.trajectory_B, lanes.step_B].to(self.backbone.device)

    def delta(self, data: Trajectories, lanes: Lanes) -> Tensor:
        """Δφ [B, D] = φ(x̃₀,t with the lane's slider) − the stored φ(x̃₀,t) without, at the same xₜ, t and prompt
        (paper, step 3)."""
        with self.sliders_on(lanes):
            return self._delta(data, lanes, self.without(data, lanes))

    def _delta(self, data: Trajectories, lanes: Lanes, without_BD: Tensor) -> Tensor:
        x, shown = self.shown(data, lanes)
        return self.seen(self.guess(shown, x, data.steps_T[lanes.step_B])) - without_BD

    def judged(self, data: Trajectories, lanes: Lanes, without: Tensor) -> tuple[Tensor, Tensor]:
        delta_BD = self._delta(data, lanes, without)
        toward_BD = lanes.strength_B.sign().unsqueeze(1).to(delta_BD) * self.v_KD[lanes.slider_B]
        along_B = (delta_BD * toward_BD).sum(1)
        cos_B = along_B / (delta_BD.square().sum(1) + SMOOTH**2).sqrt()
        loss_B = 1 - cos_B
        if self.recipe.objective == "sized":
            sized_B = self.size_K2[lanes.slider_B, (lanes.strength_B > 0).long()]
            target_B = lanes.strength_B.abs().to(delta_BD) * sized_B
            loss_B = loss_B + self.recipe.size_weight * (along_B / target_B - 1).square()
            if self.recipe.hold:
                elsewhere_B = (delta_BD @ self.all_v_KD.T).square().sum(1) - along_B.square()
                loss_B = loss_B + self.recipe.hold * elsewhere_B / target_B.square()
        return loss_B, cos_B.detach()
