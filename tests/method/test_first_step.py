"""Variety given back without training: whose prediction the first step takes, and a step that is left out."""

import pytest
import torch
from support.tiny import Tiny
from torch import Tensor

from sliderspace.core.errors import BadInput
from sliderspace.method.baselines.first_step import Model, render_otherwise
from sliderspace.method.denoise import decoded, denoise, predict, render
from sliderspace.models.backbones import Backbone
from sliderspace.models.load import load_backbone

SEEDS = [3, 5]


@pytest.fixture(scope="module")
def models(backbone: Backbone, tiny: Tiny) -> tuple[Model, Model]:
    """A student, and a teacher with other weights' reading of the same noise: the same network, told another prompt."""
    teacher = load_backbone(str(tiny.velocity), steps=3, guidance=1.0, device="cpu", precision="float32")
    return (backbone, backbone.encode(["a robot"])), (teacher, teacher.encode(["zz qq xx"]))


def drawn(model: Model, **how: object) -> Tensor:
    return torch.cat(list(render_otherwise(model, SEEDS, [0, 0], **how)))  # type: ignore[arg-type]


def test_with_its_own_first_step_it_is_the_model(models: tuple[Model, Model]) -> None:
    student = models[0]
    plain = torch.cat(list(render(student[0], None, student[1], SEEDS, [0, 0])))
    assert torch.equal(drawn(student), plain) and torch.equal(drawn(student, first=student), plain)


def test_the_first_step_is_the_teachers_and_the_rest_the_students(models: tuple[Model, Model]) -> None:
    (backbone, told), (teacher, other) = models
    with torch.no_grad():
        x = backbone.start(SEEDS)
        for index, (by, what) in enumerate(((teacher, other), (backbone, told), (backbone, told))):
            x0 = predict(by, what.rows([0, 0]), x, index)
            x = backbone.step(x, x0, index, SEEDS)
    due = torch.cat(list(decoded(backbone, x0)))
    assert torch.equal(drawn(models[0], first=models[1]), due) and not torch.equal(drawn(models[0]), due)


def test_a_skipped_step_begins_with_noise_at_the_next(models: tuple[Model, Model]) -> None:
    backbone, told = models[0]
    skipped = drawn(models[0], skipped=2)
    with torch.no_grad():
        due = predict(backbone, told.rows([0, 0]), backbone.start(SEEDS), 2)
    torch.testing.assert_close(skipped, torch.cat(list(decoded(backbone, due))))
    *_, (_, _, whole) = denoise(backbone, told.rows([0, 0]), SEEDS)
    assert not torch.equal(due, whole)
    with pytest.raises(BadInput, match="cannot be skipped"):
        drawn(models[0], skipped=3)


def test_a_teacher_that_begins_elsewhere_is_refused(models: tuple[Model, Model], tiny: Tiny) -> None:
    other = load_backbone(str(tiny.noise), steps=3, guidance=1.0, device="cpu", precision="float32")
    with pytest.raises(BadInput, match="different noise levels"):
        drawn(models[0], first=(other, models[0][1]))
