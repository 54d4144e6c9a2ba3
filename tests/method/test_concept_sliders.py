"""Concept Sliders: the target is the paper's, and a trained slider goes toward c₊, and back toward c₋."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sliderspace.core.batches import BatchSize
from sliderspace.core.errors import BadInput
from sliderspace.core.settings import Pair
from sliderspace.method.baselines.concept import ConceptSliders, pair_axes, prompts_of
from sliderspace.method.denoise import predict
from sliderspace.method.objective import Lanes, Recipe, draw
from sliderspace.method.sliders import SliderBank
from sliderspace.method.training import train
from sliderspace.method.trajectories import Trajectories, embedded
from sliderspace.models.backbones import Backbone, Condition
from sliderspace.models.encoders import Encoder
from sliderspace.models.load import load_backbone

CONCEPT = "a robot"
PAIRS = (Pair(plus="red", minus="zz qq"), Pair(plus="{} ooo"))
SEEDS = list(range(12))
RECIPE = Recipe(updates=30, lr=2e-2, objective="concept", until=1.0, check_every=30)


TURNED = (Pair(plus="zz qq", minus="red"), PAIRS[1])


@dataclass(frozen=True)
class Told:
    """A model, the trajectories of the concept, and what the model reads: the concept, then c₊ and c₋ of all pairs."""

    backbone: Backbone
    data: Trajectories
    texts: Condition

    def x0(self, prompt: int, lanes: Lanes) -> Tensor:
        x = self.data.x(lanes.trajectory_B, lanes.step_B)
        with torch.no_grad():
            return predict(self.backbone, self.texts.rows([prompt] * len(x)), x, lanes.step_B)

    def of(self, *numbers: int) -> Condition:
        return Condition({n: t[list(numbers)] for n, t in self.texts.texts.items()}, self.texts.empty)

    def objective(self, *, turned: bool = False, eta: float = 1.0) -> ConceptSliders:
        bank = SliderBank(self.backbone.denoiser, 2, pattern=self.backbone.layers["attention"], rank=4)
        pairs = self.of(3, 2, 1, 4) if turned else self.of(1, 2, 3, 4)
        return ConceptSliders(self.backbone, self.of(0), bank, RECIPE, pairs, eta)


CONCEPT_PLUS_MINUS = (0, 1, 3)  # the first pair's, among the texts


def told_by(backbone: Backbone, encoder: Encoder) -> Told:
    texts = backbone.encode([CONCEPT, *prompts_of(PAIRS, CONCEPT)])
    x, z = embedded(backbone, encoder, texts.rows([0] * len(SEEDS)), SEEDS, range(3))
    data = Trajectories.in_memory(x, z, torch.zeros(len(SEEDS), dtype=torch.int64), torch.arange(3))
    return Told(backbone, data, texts)


@pytest.fixture(scope="module")
def told(backbone: Backbone, encoder: Encoder) -> Told:
    return told_by(backbone, encoder)


@pytest.fixture(scope="module")
def by_noise(tiny: Any, encoder: Encoder) -> Told:
    """Of the model that predicts noise, as the paper's do."""
    model = load_backbone(str(tiny.noise), steps=3, guidance=1.0, device="cpu", precision="float32")
    return told_by(model, encoder)


def lanes_of(count: int, strength: float, slider: int = 0) -> Lanes:
    b = torch.arange(count)
    return Lanes(torch.full((count,), slider), b, b % 3, torch.full((count,), strength))


def test_words_make_prompts() -> None:
    assert Pair(plus="old", minus="young").prompts("a person") == ("a person, old", "a person, young")
    assert Pair(plus="{} in oil", minus="").prompts("a person") == ("a person in oil", "a person")
    assert Pair(plus="old").title == "old" and Pair(plus="old", name="age").title == "age"
    for wrong in ({"plus": " "}, {"plus": "old", "minus": "old"}):
        with pytest.raises(ValueError, match="two different texts"):
            Pair.model_validate(wrong)


@pytest.mark.parametrize(("strength", "eta"), [(1.0, 1.0), (-1.0, 1.0), (1.0, 2.5)])
def test_the_target_is_the_papers_in_noise(by_noise: Told, strength: float, eta: float) -> None:
    """ε(c) + η·(ε(c₊) − ε(c₋)), worked out in noise and carried to x̃₀ at the end."""
    lanes = lanes_of(12, strength)
    before, asked = by_noise.objective(eta=eta).without(by_noise.data, lanes)
    x, (_, a, s) = by_noise.data.x(lanes.trajectory_B, lanes.step_B), by_noise.backbone.schedule.at(lanes.step_B)
    concept, plus, minus = ((x - a * by_noise.x0(prompt, lanes)) / s for prompt in CONCEPT_PLUS_MINUS)
    due = concept + strength * eta * (plus - minus)
    torch.testing.assert_close(before + asked, (x - s * due) / a, atol=2e-4, rtol=1e-4)


def toward_plus(told: Told, objective: ConceptSliders, strength: float) -> float:
    """Mean cosine of what slider 0 does to x̃₀ with x̃₀(c₊) − x̃₀(c₋), told from the prompts alone."""
    lanes = lanes_of(12, strength)
    concept, plus, minus = (told.x0(prompt, lanes) for prompt in CONCEPT_PLUS_MINUS)
    with objective.sliders_on(lanes):
        moved = told.x0(0, lanes) - concept
    return float(torch.nn.functional.cosine_similarity(moved.flatten(1), (plus - minus).flatten(1)).mean())


@pytest.mark.parametrize("turned", [False, True])
def test_a_trained_slider_goes_toward_plus_and_back_toward_minus(told: Told, tmp_path: Path, turned: bool) -> None:
    """That of the turned pair goes the other way."""
    objective, place = told.objective(turned=turned), tmp_path / "training.safetensors"
    updates = list(train(objective, told.data, told.data, seed=0, lanes=4, checkpoint=place, fingerprint="f"))
    held_K = updates[-1].held_out_K
    assert held_K is not None and min(held_K) > 0.4
    up, down = (toward_plus(told, objective, strength) for strength in (1.0, -1.0))
    assert (up < -0.5 and down > 0.5) if turned else (up > 0.5 and down < -0.5), (up, down)


def test_one_sign_trains_the_plus_side_only() -> None:
    lanes = draw(replace(RECIPE, both_signs=False), range(40), 12, 3, 0, "lane", 0)
    assert set(lanes.strength_B.tolist()) == {1.0}
    assert set(draw(RECIPE, range(40), 12, 3, 0, "lane", 0).strength_B.tolist()) == {1.0, -1.0}


def test_axes_point_from_minus_to_plus(told: Told, encoder: Encoder) -> None:
    def axis(plus: int, minus: int) -> Tensor:
        return torch.from_numpy(pair_axes(told.backbone, encoder, told.of(plus, minus), PAIRS[:1], 0, BatchSize(64)))

    torch.testing.assert_close(axis(3, 1), -axis(1, 3))
    with pytest.raises(BadInput, match="draw the same images"):
        axis(1, 1)


@pytest.mark.slow
def test_a_compiled_update_is_the_plain_one_of_one_program(told: Told) -> None:
    from torch._dynamo.testing import CompileCounter

    counter, plain, compiled = CompileCounter(), told.objective(), told.objective()
    plain_loss, _ = plain.descend(told.data, lanes_of(4, 1.0))
    with compiled.compiled(counter):
        loss, _ = compiled.descend(told.data, lanes_of(4, 1.0))
    assert counter.frame_count == 1
    assert loss.equal(plain_loss)
    for one, other in zip(plain.bank.trained(), compiled.bank.trained(), strict=True):
        assert one.grad is not None and other.grad is not None and other.grad.equal(one.grad)
