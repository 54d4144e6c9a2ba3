"""The distilled model against a critic: the student's own way is diffusers', and the critic learns what it is for."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).parents[2] / "miniature"))

from adversarial import NOISIEST, Critic, Steps, between, load_student, noised
from turbo import STEPS, Teacher

from sliderspace.models.backbones import PRESETS

NAME = "pytorch_lora_weights.safetensors"
TEXTS = ["a monster", "a red dragon"]


@pytest.fixture(scope="module")
def teacher() -> Teacher:
    pipe = StableDiffusionPipeline.from_pretrained(PRESETS["mini"].folder, torch_dtype=torch.float32)
    pipe.unet.requires_grad_(False)
    return Teacher(pipe, 1, 0.0)


def test_the_students_way_is_diffusers_own(teacher: Teacher) -> None:
    steps, states = Steps(teacher), teacher.states(TEXTS)
    x = torch.randn(len(TEXTS), 32, 8, 8, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        taught = steps.taught(teacher.unet, x, states, range(STEPS))
    plan = DDIMScheduler.from_config(teacher.pipe.scheduler.config)
    plan.set_timesteps(STEPS)
    for (n, begun, _), t in zip(taught, plan.timesteps, strict=True):
        torch.testing.assert_close(begun, x, rtol=1e-3, atol=1e-3)
        assert n == plan.timesteps.tolist().index(t)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            v = teacher.unet(x, t, states).sample.float()
        x = plan.step(v, t, x).prev_sample
    torch.testing.assert_close(taught[-1][2], x, rtol=1e-3, atol=1e-3)


def test_only_the_steps_that_are_taught_have_a_gradient(teacher: Teacher) -> None:
    steps, states = Steps(teacher), teacher.states(TEXTS)
    x = torch.randn(len(TEXTS), 32, 8, 8, generator=torch.Generator().manual_seed(5)).requires_grad_()
    taught = steps.taught(teacher.unet, x, states, [0, 2])
    assert [n for n, *_ in taught] == [0, 2]
    assert taught[0][2].requires_grad and not taught[1][1].requires_grad, "what led there is taken as given"


def test_a_student_begins_as_a_lora_of_lower_rank(teacher: Teacher) -> None:
    """The shipped one, told diffusers' own way and ours; then there is more for it to learn."""
    turbo = Path(PRESETS["mini"].folder).parent / "turbo"
    rank = 2 + max(len(w) for n, w in load_file(turbo / NAME).items() if ".lora_A." in n)
    student = load_student(teacher.unet, rank, turbo)
    pipe = StableDiffusionPipeline.from_pretrained(PRESETS["mini"].folder, torch_dtype=torch.float32)
    pipe.load_lora_weights(turbo, weight_name=NAME)
    x, t = torch.randn(2, 32, 8, 8, generator=torch.Generator().manual_seed(3)), torch.tensor([700, 200])
    with torch.no_grad():
        ours, theirs = (unet(x, t, teacher.states(TEXTS)).sample for unet in (student, pipe.unet))
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)
    assert all(
        min(w.flatten(1).shape) >= rank for n, w in student.named_parameters() if "lora_" in n and "conv" not in n
    )


def test_noise_is_of_the_level_that_is_told(teacher: Teacher) -> None:
    abar = teacher.pipe.scheduler.alphas_cumprod
    x, t = noised(torch.ones(512, 4, 8, 8), abar, np.random.default_rng(0))
    assert 0 <= t.min() < 20 and 0.9 * NOISIEST < t.max() < NOISIEST
    for row in (t.argmin(), t.argmax()):
        assert abs(x[row].mean() - abar[t[row]].sqrt()) < 0.3
        assert abs(x[row].std() - (1 - abar[t[row]]).sqrt()) < 0.15


def test_pairs_are_shown_with_the_same_noise(teacher: Teacher) -> None:
    z = torch.cat([torch.zeros(16, 4, 8, 8), torch.ones(16, 4, 8, 8)])
    abar = teacher.pipe.scheduler.alphas_cumprod
    x, t = noised(z, abar, np.random.default_rng(0), copies=2)
    assert t[:16].equal(t[16:])
    torch.testing.assert_close((x[16:] - x[:16])[:, 0, 0, 0], abar[t[:16]].sqrt(), rtol=0, atol=1e-5)


def test_the_critic_learns_to_tell_and_says_which_way(teacher: Teacher) -> None:
    torch.manual_seed(0)
    critic = Critic(teacher.unet.requires_grad_(True))
    states, t = teacher.states(["a monster"] * 8), torch.full((8,), 100)
    real, drawn = torch.randn(8, 32, 8, 8), torch.randn(8, 32, 8, 8) + 0.5
    adam = torch.optim.Adam(critic.parameters(), lr=3e-4)

    def gap() -> torch.Tensor:
        on_real, on_drawn = critic(torch.cat([real, drawn]), t.repeat(2), states.repeat(2, 1, 1)).chunk(2)
        return (1 - on_real).relu().mean() + (1 + on_drawn).relu().mean()

    first = gap()
    for _ in range(8):
        adam.zero_grad()
        loss = gap()
        loss.backward()
        adam.step()
    assert loss < 0.7 * first
    critic.requires_grad_(False)
    moved = drawn.clone().requires_grad_()
    critic(moved, t, states).mean().backward()
    assert moved.grad is not None and moved.grad.mean() < 0, "toward the real ones"


def test_half_the_way_is_the_mean_of_what_both_change() -> None:
    random = torch.Generator().manual_seed(0)

    def lora(rank: int) -> dict[str, torch.Tensor]:
        down, up = torch.randn(rank, 6, generator=random), torch.randn(5, rank, generator=random)
        return {"a.lora_A.weight": down, "a.lora_B.weight": up}

    def change(layers: dict[str, torch.Tensor]) -> torch.Tensor:
        return layers["a.lora_B.weight"] @ layers["a.lora_A.weight"]

    first, second = lora(2), lora(3)
    for share in (0.0, 0.5, 1.0):
        mean = torch.lerp(change(first), change(second), share)
        torch.testing.assert_close(change(between(first, second, share)), mean)
