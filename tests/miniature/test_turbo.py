"""The distillation of the built-in model: what a student is asked lands where its teacher does, in fewer steps."""

import sys
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline

sys.path.insert(0, str(Path(__file__).parents[2] / "miniature"))

from turbo import STEPS, WAVE, Lessons, Teacher, cut, waves

from sliderspace.models.backbones import PRESETS

TEXTS = ["a monster", "a red dragon"]


@pytest.fixture(scope="module")
def pipe() -> StableDiffusionPipeline:
    found = StableDiffusionPipeline.from_pretrained(PRESETS["mini"].folder, torch_dtype=torch.float32)
    found.unet.requires_grad_(False)
    return found


def noise() -> torch.Generator:
    return torch.Generator().manual_seed(5)


@torch.no_grad()
def drawn(pipe: StableDiffusionPipeline, x: torch.Tensor, states: torch.Tensor, steps: int) -> torch.Tensor:
    """Latents of diffusers' own loop."""
    plan = DDIMScheduler.from_config(pipe.scheduler.config)
    plan.set_timesteps(steps)
    for t in plan.timesteps:
        with torch.autocast("cpu", torch.bfloat16):
            v = pipe.unet(x, t, states).sample.float()
        x = plan.step(v, t, x).prev_sample
    return x


def test_steps_that_say_what_is_asked_end_where_the_teacher_does(pipe: StableDiffusionPipeline) -> None:
    teacher = Teacher(pipe, times=2, push=0.0)
    asked = teacher.lessons(TEXTS, noise())
    start = torch.randn(len(TEXTS), 32, 8, 8, generator=noise())
    plan = DDIMScheduler.from_config(pipe.scheduler.config)
    plan.set_timesteps(STEPS)
    assert asked.t.tolist() == plan.timesteps.repeat_interleave(len(TEXTS)).tolist()
    x = start
    for n, t in enumerate(plan.timesteps):
        rows = slice(n * len(TEXTS), (n + 1) * len(TEXTS))
        torch.testing.assert_close(x, asked.x[rows], rtol=1e-3, atol=1e-3)
        x = plan.step(asked.v[rows], t, x).prev_sample
    states = teacher.states(TEXTS)
    theirs = drawn(pipe, start, states, 2 * STEPS)
    torch.testing.assert_close(x, theirs, rtol=2e-2, atol=2e-2)
    assert (drawn(pipe, start, states, STEPS) - theirs).abs().max() > 0.2, "four plain steps end elsewhere"


def test_a_push_is_away_from_the_empty_prompt(pipe: StableDiffusionPipeline) -> None:
    states, x, t = Teacher(pipe, 2, 0.0).states([*TEXTS, ""]), torch.randn(3, 32, 8, 8), torch.tensor(500)
    with torch.no_grad():
        plain, pushed = (Teacher(pipe, 2, push).velocity(x, t, states) for push in (0.0, 1.0))
    torch.testing.assert_close(pushed[2], plain[2], rtol=1e-4, atol=1e-4)
    assert (pushed - plain)[:2].abs().amax((1, 2, 3)).min() > 0.01


def test_batches_are_the_same_after_a_stop(pipe: StableDiffusionPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever number is asked for first; and every row of a wave is dealt once."""

    def told(_: Teacher, texts: list[str], noise: torch.Generator) -> Lessons:
        row = torch.arange(len(texts) * STEPS) + 1000 * torch.randint(1000, (1,), generator=noise)
        return Lessons(row, row, row, row)

    monkeypatch.setattr(Teacher, "lessons", told)
    teacher, batch = Teacher(pipe, 2, 0.0), 32
    each = WAVE * STEPS // batch
    whole, later = waves(teacher, 3, batch, 0), waves(teacher, 3, batch, each + 3)
    first = [next(whole).x for _ in range(each + 5)]
    for n in (each + 3, each + 4):
        assert torch.equal(first[n], next(later).x)
    assert len(torch.cat(first[:each]).unique()) == WAVE * STEPS


def test_a_cut_lora_is_the_nearest_of_its_rank() -> None:
    """Of a linear layer and of a convolution; by Eckart and Young the error is what the other singular values hold."""
    random = torch.Generator().manual_seed(0)
    shapes = {"a": ((4, 6), (5, 4)), "b": ((4, 6, 3, 3), (5, 4, 1, 1))}
    layers = {
        f"{name}.lora_{part}.weight": torch.randn(*shape, generator=random)
        for name, both in shapes.items()
        for part, shape in zip("AB", both, strict=True)
    }
    for rank in (4, 2):
        found = cut(layers, rank)
        for name, (down, up) in shapes.items():
            a, b = (found[f"{name}.lora_{part}.weight"] for part in "AB")
            assert a.shape == (rank, *down[1:]) and b.shape == (up[0], rank, *up[2:])
            whole = layers[f"{name}.lora_B.weight"].flatten(1) @ layers[f"{name}.lora_A.weight"].flatten(1)
            lost = torch.linalg.matrix_norm(whole - b.flatten(1) @ a.flatten(1))
            rest = torch.linalg.svdvals(whole)[rank:].square().sum().sqrt()
            torch.testing.assert_close(lost, rest, rtol=1e-3, atol=1e-4)
