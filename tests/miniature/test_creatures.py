"""The creatures' world: pictures follow from numbers, captions are true, and what a factor changes can be seen."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2] / "miniature"))

from classes import CHOICES, Bins
from factors import (
    CIRCULAR,
    CLAY,
    FAR,
    FORMS,
    KINDS,
    RANGES,
    STYLES,
    Creature,
    creature,
    draw,
    lab,
    plain,
    truth,
)
from field import Ellipsoids, Field, pixels
from norms import quicken
from render import SIZE, render, write
from scene import compose
from words import body, caption, ground

from sliderspace.models.backbones import PRESETS

torch.set_num_threads(1)
MANY = [draw(i) for i in range(1500)]


def one_ellipsoid(radii: tuple[float, float, float]) -> Ellipsoids:
    return Ellipsoids(np.zeros((1, 3)), np.eye(3)[None], np.array([radii]), np.ones(1))


def test_a_creature_depends_on_its_seed_and_number_alone() -> None:
    assert draw(7, 3) == draw(7, 3)
    assert draw(7, 3) != draw(8, 3) != draw(8, 4)
    assert creature(json.loads(json.dumps(draw(7).row()))) == draw(7)


@pytest.mark.parametrize("name", RANGES)
def test_factors_depart_from_the_common_form_seldom_and_then_far(name: str) -> None:
    low, _, high, often = RANGES[name]
    away = []
    for c in MANY:
        middle, d = FORMS[c.kind].get(name, RANGES[name][1]), c[name]
        width = (high - low) * (0.5 if name in CIRCULAR else 1)
        gap = abs((d - middle + 0.5) % 1 - 0.5) if name in CIRCULAR else abs(d - middle)
        assert low <= d <= high
        assert gap < 0.2 * width or gap > FAR * width - 1e-3
        away.append(gap > 0.2 * width)
    assert np.mean(away) == pytest.approx(often, abs=0.05)


def test_colours_are_cielab() -> None:
    assert lab(np.ones(3)) == pytest.approx([100, 0, 0], abs=0.1)
    assert lab(np.array([1.0, 0, 0])) == pytest.approx([53.2, 80.1, 67.2], abs=0.3)
    assert truth(plain(sat=0.0, light=1.0))["body_light"] == pytest.approx(100, abs=0.1)


def test_the_front_of_an_ellipsoid_is_where_its_formula_says() -> None:
    basis = pixels(32)
    where, z = Field(one_ellipsoid((0.5, 0.6, 0.4))).front(basis)
    x, y = basis[3, where], basis[4, where]
    true = 0.4 * (1 - (x / 0.5) ** 2 - (y / 0.6) ** 2).clamp(min=0).sqrt()
    inside = true > 0.1
    assert inside.sum() > 100
    assert torch.allclose(z[inside], true[inside], atol=2e-3)


def test_surfaces_lie_on_the_field_and_normals_follow_it() -> None:
    field = Field(one_ellipsoid((0.5, 0.6, 0.4)))
    where, z = field.front(pixels(24))
    point = torch.stack([pixels(24)[3, where], pixels(24)[4, where], z])
    normal = field.normal(point, torch.ones(1, len(where)))
    assert torch.allclose(normal.norm(dim=0), torch.ones(len(where)), atol=1e-4)
    assert (field.level(point + 0.02 * normal) < field.level(point - 0.02 * normal)).all()


@pytest.mark.parametrize("style", STYLES)
def test_every_style_draws_every_creature_the_same_way_twice(style: str) -> None:
    c = plain("dragon", style)
    picture = render(c)
    assert picture.shape == (SIZE, SIZE, 3)
    assert picture.dtype == np.uint8
    assert (picture == render(c)).all()
    assert style == CLAY or np.abs(picture.astype(int) - render(plain("dragon"))).mean() > 4


@pytest.mark.parametrize("name", RANGES)
def test_a_factor_that_departs_can_be_seen(name: str) -> None:
    low, _, high, _ = RANGES[name]
    far = high if name not in CIRCULAR else (plain()[name] + 0.5) % 1
    near = low if name not in CIRCULAR else plain()[name]
    change = np.abs(render(plain(**{name: near})).astype(int) - render(plain(**{name: far}))).max(-1)
    assert (change > 24).mean() > 0.008  # of all pixels; the whole creature covers about a third


def test_nobody_leaves_the_picture() -> None:
    for c in [*MANY[:12], plain("bunny", ears=1.0, size=1.0, legs=1.0), plain("dragon", width=1.0, size=1.0)]:
        shown = compose(c).full(torch.ones(len(compose(c).where))) > 0
        assert not shown[0].any()
        assert shown[:, 0].sum() + shown[:, -1].sum() < 90  # a hand may touch the edge


def test_captions_say_what_is_true() -> None:
    rng = np.random.default_rng(0)
    for c in MANY[:300]:
        text = caption(c, rng, (1.0,))
        assert c.kind in text or "creature" in text
        some = re.search(r"\ban art style", text)  # which, is not said
        assert f"{c.style} style" in text or "style" not in text or (some and c.style != CLAY)
        assert "background" not in text or f"{ground(c)} background" in text
        assert ("one eye" in text) == (c.eyes == 1)
        assert "turned left" not in text or c["yaw"] < 0
    assert "green" in caption(plain(), rng, (1.0,)) and body(plain()) == "green"


def test_the_package_knows_the_words_of_captions_and_no_others() -> None:
    rng = np.random.default_rng(2)
    told = set(re.findall("[a-z]+", " ".join(caption(c, rng, (1.0,)) for c in MANY)))
    assert PRESETS["mini"].unknown_words(" ".join(told)) == ()
    never = {word for word in PRESETS["mini"].words if word not in told and f"{word}s" not in told}
    assert never == {"bunnies", "antenna"}  # one of several, and several of one


def test_what_a_style_hides_is_not_said() -> None:
    rng = np.random.default_rng(0)
    texts = [caption(plain("monster", "ink", gloss=1.0, lamp=1.0), rng, (1.0,)) for _ in range(20)]
    assert not any(word in text for text in texts for word in ("green", "background", "shiny", "light from"))


def test_a_caption_says_for_certain_what_its_picture_was_drawn_for() -> None:
    """And else no more than it would: what is said of other pictures stays what it was."""
    from unet import SLOW, slow

    creatures = [draw(i) for i in range(6000)]
    for group, places in zip(SLOW, slow(creatures, SLOW), strict=True):
        texts = [caption(creatures[i], np.random.default_rng(i), (0.0,), group) for i in places]
        bare = [caption(creatures[i], np.random.default_rng(i), (0.0,)) for i in places]
        assert texts and all(any(word.removeprefix("a ") in text for word in group) for text in texts)
        assert not all(any(word in text for word in group) for text in bare)


def test_captions_without_a_style_show_mostly_clay() -> None:
    rng = np.random.default_rng(1)
    unnamed = [c.style != CLAY for c in MANY if "style" not in caption(c, rng)]
    assert len(unnamed) > 400
    assert np.mean(unnamed) < 0.1


def test_classes_cover_every_factor_and_leave_out_what_is_hidden() -> None:
    bins = Bins(MANY)
    classes, labels = bins.classes(), bins.labels(MANY)
    assert list(classes)[: len(CHOICES)] == list(CHOICES)
    assert labels.shape == (len(MANY), len(classes))
    ink = torch.tensor([c.style == "ink" for c in MANY])
    column = list(classes).index("body_light")
    assert (labels[ink, column] < 0).all() and (labels[~ink, list(classes).index("yaw")] >= 0).all()
    assert set(KINDS) == set(classes["kind"])


def test_a_shard_goes_on_where_it_was_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def tiny(c: Creature) -> np.ndarray:
        return np.full((SIZE, SIZE, 3), c.index % 256, np.uint8)

    monkeypatch.setattr("render.render", tiny)
    write(tmp_path / "whole", 10, 4, 0)
    write(tmp_path / "cut", 10, 4, 0)
    for end in (".rgb", ".jsonl"):
        (tmp_path / f"cut{end}").rename(tmp_path / f"cut{end}.part")
    with (tmp_path / "cut.rgb.part").open("r+b") as file:
        file.truncate(2 * SIZE * SIZE * 3 + 100)
    write(tmp_path / "cut", 10, 4, 0)
    for end in (".rgb", ".jsonl"):
        assert (tmp_path / f"cut{end}").read_bytes() == (tmp_path / f"whole{end}").read_bytes()


def test_quick_norms_are_group_norms() -> None:
    torch.manual_seed(0)
    norm = nn.GroupNorm(2, 8)
    nn.init.normal_(norm.weight)
    x, pull = torch.randn(3, 8, 8, 8) + 2, torch.randn(3, 8, 8, 8)

    def run() -> list[torch.Tensor]:
        leaf = x.clone(memory_format=torch.channels_last).requires_grad_()
        norm.zero_grad()
        y = norm(leaf)
        (y * pull).sum().backward()
        grads = (leaf.grad, norm.weight.grad, norm.bias.grad)
        return [y.detach(), *(g.clone() for g in grads if g is not None)]

    plain_run = run()
    quicken(norm)
    for a, b in zip(plain_run, run(), strict=True):
        assert torch.allclose(a, b, atol=1e-4)
