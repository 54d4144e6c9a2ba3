"""A natural unit is the strength that moves finished images by one standard deviation, whatever the response looks
like."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sliderspace.core.settings import Measuring
from sliderspace.method.calibration import natural_unit
from sliderspace.method.denoise import render
from sliderspace.method.sliders import SliderBank
from sliderspace.method.sweeps import Sweep, Viewer, both_ways
from sliderspace.models.backbones import Backbone, Condition
from sliderspace.models.encoders import Encoder
from sliderspace.storage.files import load_tensors, save_tensors
from sliderspace.storage.images import to_uint8

Array = np.ndarray[Any, np.dtype[np.float64]]
SIGMA = 0.4
GRID = Measuring().raw_sizes


def planted(response: Any, seeds: int = 6, noise: float = 0.0) -> Array:
    """Projections [S, M] at ±GRID of a slider whose images move by `response(|strength|)` standard deviations along its
    direction."""
    scales = both_ways(GRID)
    clean = np.sign(scales) * np.array([response(abs(s)) for s in scales]) * SIGMA
    jitter = np.random.default_rng(0).normal(0, noise * SIGMA, (seeds, len(scales)))
    return clean + jitter * (scales != 0)


def by_size(projection_SM: Array) -> Callable[[float], Array]:
    """What `natural_unit` asks for: the projections [S, 2] at −size and +size."""
    middle = len(GRID)

    def projected(size: float) -> Array:
        m = GRID.index(size) + 1
        return projection_SM[:, [middle - m, middle + m]]

    return projected


# ---- planted responses


@given(st.floats(0.55, 3.9))
def test_a_linear_response_gives_its_exact_unit(slope: float) -> None:
    unit, reached = natural_unit(by_size(planted(lambda s: slope * s)), GRID, SIGMA)
    assert reached
    assert unit == pytest.approx(1 / slope)


@given(st.floats(1.3, 4.0))
def test_a_saturating_response_gives_about_the_true_unit(top: float) -> None:
    """Between the strengths tried it is interpolated, which a bent curve forgives."""
    unit, reached = natural_unit(by_size(planted(lambda s: top * math.tanh(s))), GRID, SIGMA)
    assert reached
    assert unit == pytest.approx(math.atanh(1 / top), rel=0.16)


def test_a_response_that_never_reaches_one_deviation_says_so() -> None:
    """The smallest size within a tenth of the best stands in: stronger ones break images and move them no further."""
    assert natural_unit(by_size(planted(lambda s: 0.8 * math.tanh(3 * s))), GRID, SIGMA) == (GRID[0], False)
    assert natural_unit(by_size(planted(lambda s: 0.8 * math.tanh(s))), GRID, SIGMA) == (1.5, False)
    assert natural_unit(by_size(planted(lambda s: 0.2 * s)), GRID, SIGMA) == (GRID[-1], False)
    assert natural_unit(by_size(planted(lambda s: 0.9 * s if s <= 1 else 0.1)), GRID, SIGMA) == (0.75, False)


@pytest.mark.parametrize("response", [lambda s: 0.0, lambda s: -2 * s], ids=["dead", "turned round"])
def test_a_slider_that_does_nothing_or_the_opposite(response: Any) -> None:
    assert natural_unit(by_size(planted(response)), GRID, SIGMA) == (GRID[0], False)


def test_the_first_crossing_counts() -> None:
    """A response that falls back later, as images break, is judged where it still works."""
    unit, reached = natural_unit(by_size(planted(lambda s: 2 * s if s <= 1 else 0.5)), GRID, SIGMA)
    assert reached and unit == pytest.approx(0.5)


def test_strong_sliders_have_units_below_the_smallest_size() -> None:
    unit, reached = natural_unit(by_size(planted(lambda s: 20 * s)), GRID, SIGMA)
    assert reached and unit == pytest.approx(0.05)


def test_both_signs_count_and_a_shift_of_both_does_not() -> None:
    """What a slider does the same at + and − is no effect of its sign."""
    clean = planted(lambda s: 1.5 * s)
    shifted = clean + 3 * SIGMA * (both_ways(GRID) != 0)
    assert natural_unit(by_size(shifted), GRID, SIGMA) == (
        pytest.approx(natural_unit(by_size(clean), GRID, SIGMA)[0]),
        True,
    )


def test_no_size_is_asked_for_beyond_the_one_that_decides() -> None:
    asked: list[float] = []
    projected = by_size(planted(lambda s: 0.8 * s))
    natural_unit(lambda size: asked.append(size) or projected(size), GRID, SIGMA)
    assert asked == [0.75, 1.5]


def test_the_unit_scales_with_sigma_and_noise_averages_out() -> None:
    noisy = planted(lambda s: 1.5 * s, seeds=400, noise=0.3)
    assert natural_unit(by_size(noisy), GRID, SIGMA)[0] == pytest.approx(1 / 1.5, rel=0.1)
    assert natural_unit(by_size(noisy), GRID, SIGMA / 2)[0] == pytest.approx(0.5 / 1.5, rel=0.1)


def test_a_sweep_has_zero_in_its_middle() -> None:
    assert both_ways((1.0, 2.0)).tolist() == [-2, -1, 0, 1, 2]


# ---- sweeps of a real model


@pytest.fixture(scope="module")
def condition(backbone: Backbone) -> Condition:
    return backbone.encode(["a robot", "a person"])


@pytest.fixture(scope="module")
def bank(backbone: Backbone) -> SliderBank:
    made = SliderBank(backbone.denoiser, 2, pattern=backbone.layers["attention"], seed=3)
    made.ups.data.normal_(0, 0.2, generator=torch.Generator().manual_seed(1))
    return made


SEEDS = [11, 12, 13]
SIZES_KM = np.array([[0.5, 1.0], [1.0, 3.0]])


@pytest.fixture(scope="module")
def found(backbone: Backbone, encoder: Encoder, bank: SliderBank, condition: Condition) -> list[Sweep]:
    return swept_through(Viewer(backbone, bank, condition, encoder, None, 64))


def swept_through(viewer: Viewer) -> list[Sweep]:
    base = viewer.base(SEEDS, keep=2)
    return [viewer.sweep(k, SEEDS, sizes, base, keep=2) for k, sizes in enumerate(SIZES_KM.tolist())]


def test_each_column_is_the_image_drawn_alone(
    found: list[Sweep], backbone: Backbone, encoder: Encoder, bank: SliderBank, condition: Condition
) -> None:
    for k, sweep in enumerate(found):
        for m, scale in enumerate(both_ways(SIZES_KM[k].tolist())):
            strengths = torch.zeros(1, 2)
            strengths[0, k] = float(scale)
            image = next(iter(render(backbone, bank, condition, [SEEDS[1]], [1], strengths)))
            np.testing.assert_allclose(sweep.z_SMD[1, m], encoder(image)[0].numpy(), atol=1e-3)
            assert np.abs(sweep.images_SMHWC[1, m].astype(int) - to_uint8(image)[0].numpy()).max() <= 1


def test_the_middle_is_the_base_model(found: list[Sweep]) -> None:
    for sweep in found:
        assert not sweep.change_SMD[:, 2].any()
        assert (np.abs(sweep.change_SMD[:, [0, 1, 3, 4]]).max(axis=(0, 2)) > 1e-3).all()
    np.testing.assert_array_equal(found[0].z_SMD[:, 2], found[1].z_SMD[:, 2])


def test_shapes_and_kept_images(found: list[Sweep], encoder: Encoder) -> None:
    assert [s.slider for s in found] == [0, 1]
    assert all(s.z_SMD.shape == (3, 5, encoder.dim) and s.images_SMHWC.shape == (2, 5, 32, 32, 3) for s in found)
    assert all(s.images_SMHWC.dtype == np.uint8 for s in found)


def test_a_stored_sweep_is_the_same_again(found: list[Sweep], tmp_path: Path) -> None:
    save_tensors(tmp_path / "s.safetensors", found[0].tensors(), kind="sweep", fingerprint="f")
    again = Sweep.from_tensors(0, load_tensors(tmp_path / "s.safetensors", kind="sweep")[0])
    assert np.array_equal(again.z_SMD, found[0].z_SMD) and np.array_equal(again.images_SMHWC, found[0].images_SMHWC)


def test_batch_size_changes_nothing(
    found: list[Sweep], backbone: Backbone, encoder: Encoder, bank: SliderBank, condition: Condition
) -> None:
    again = swept_through(Viewer(backbone, bank, condition, encoder, None, 5))
    for a, b in zip(found, again, strict=True):
        np.testing.assert_allclose(a.z_SMD, b.z_SMD, atol=1e-3)
