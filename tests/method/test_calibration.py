"""A natural unit is the strength that moves finished images by one standard deviation, whatever the response looks
like."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sliderspace.core.settings import Measuring
from sliderspace.measure.factors import factor_table, unrelated
from sliderspace.measure.factors import with_intervals as factor_intervals
from sliderspace.measure.results import measures, with_intervals
from sliderspace.measure.views import SCALES, SIZES, judges_view, training_view
from sliderspace.method.calibration import natural_unit
from sliderspace.method.denoise import render
from sliderspace.method.directions import Directions
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


# ---- planted responses


@given(st.floats(0.55, 3.9))
def test_a_linear_response_gives_its_exact_unit(slope: float) -> None:
    unit, reached = natural_unit(planted(lambda s: slope * s), GRID, SIGMA)
    assert reached
    assert unit == pytest.approx(1 / slope)


@given(st.floats(1.3, 4.0))
def test_a_saturating_response_gives_about_the_true_unit(top: float) -> None:
    """Between the strengths tried it is interpolated, which a bent curve forgives."""
    unit, reached = natural_unit(planted(lambda s: top * math.tanh(s)), GRID, SIGMA)
    assert reached
    assert unit == pytest.approx(math.atanh(1 / top), rel=0.15)


def test_a_response_that_never_reaches_one_deviation_says_so() -> None:
    """The smallest size within a tenth of the best stands in: stronger ones break images and move them no further."""
    assert natural_unit(planted(lambda s: 0.8 * math.tanh(3 * s)), GRID, SIGMA) == (GRID[0], False)
    assert natural_unit(planted(lambda s: 0.8 * math.tanh(s)), GRID, SIGMA) == (2.0, False)
    assert natural_unit(planted(lambda s: 0.2 * s), GRID, SIGMA) == (GRID[-1], False)
    assert natural_unit(planted(lambda s: 0.9 * s if s <= 1 else 0.1), GRID, SIGMA) == (1.0, False)


@pytest.mark.parametrize("response", [lambda s: 0.0, lambda s: -2 * s], ids=["dead", "turned round"])
def test_a_slider_that_does_nothing_or_the_opposite(response: Any) -> None:
    assert natural_unit(planted(response), GRID, SIGMA) == (GRID[0], False)


def test_the_first_crossing_counts() -> None:
    """A response that falls back later, as images break, is judged where it still works."""
    unit, reached = natural_unit(planted(lambda s: 2 * s if s <= 1 else 0.5), GRID, SIGMA)
    assert reached and unit == pytest.approx(0.5)


def test_strong_sliders_have_units_below_the_smallest_size() -> None:
    unit, reached = natural_unit(planted(lambda s: 20 * s), GRID, SIGMA)
    assert reached and unit == pytest.approx(0.05)


def test_both_signs_count_and_a_shift_of_both_does_not() -> None:
    """What a slider does the same at + and − is no effect of its sign."""
    clean = planted(lambda s: 1.5 * s)
    shifted = clean + 3 * SIGMA * (both_ways(GRID) != 0)
    assert natural_unit(shifted, GRID, SIGMA) == (pytest.approx(natural_unit(clean, GRID, SIGMA)[0]), True)


def test_the_unit_scales_with_sigma_and_noise_averages_out() -> None:
    noisy = planted(lambda s: 1.5 * s, seeds=400, noise=0.3)
    assert natural_unit(noisy, GRID, SIGMA)[0] == pytest.approx(1 / 1.5, rel=0.1)
    assert natural_unit(noisy, GRID, SIGMA / 2)[0] == pytest.approx(0.5 / 1.5, rel=0.1)


def test_a_sweep_has_zero_in_its_middle() -> None:
    assert both_ways((1.0, 2.0)).tolist() == [-2, -1, 0, 1, 2]


# ---- sweeps of a real model


@pytest.fixture(scope="module")
def condition(backbone: Backbone) -> Condition:
    return backbone.encode(["a robot", "a person"])


@pytest.fixture(scope="module")
def bank(backbone: Backbone) -> SliderBank:
    made = SliderBank(backbone.denoiser, 2, pattern=backbone.layers["attention"], seed=3)
    for value in made.ups.values():
        value.data.normal_(0, 0.2, generator=torch.Generator().manual_seed(1))
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


# ---- measures of planted sweeps

D, K, S = 12, 3, 16


def directions() -> Directions:
    components = np.linalg.qr(np.random.default_rng(3).standard_normal((D, K)))[0].T
    return Directions(
        components_KD=components,
        mean_TD=np.zeros((1, D)),
        explained_variance_K=np.ones(K),
        explained_variance_ratio_K=np.full(K, 0.1),
        total_variance=10.0,
        sigma_TK=np.ones((1, K)),
        step_share=0.0,
        centring="step",
        encoder="test",
        count=10,
        trajectories=10,
        step_indices=(7,),
    )


def swept(k: int, move_D: Array, noise: float = 0.0, bend: Any = lambda s: s) -> Sweep:
    """A slider that moves every seed's images by scale × move."""
    rng = np.random.default_rng(k)
    base = rng.standard_normal((S, 1, D)) * 0.5
    scales = np.array([bend(s) for s in SCALES])
    moved = (
        base
        + scales[None, :, None] * move_D
        + noise * rng.standard_normal((S, len(SCALES), D)) * (SCALES != 0)[None, :, None]
    )
    return Sweep(k, moved, np.zeros((1, len(SCALES), 4, 4, 3), np.uint8))


def judged(found: list[Sweep]) -> dict[str, Any]:
    rng = np.random.default_rng(9)
    near, fresh = rng.standard_normal((400, D)) * 0.5, rng.standard_normal((40, D)) * 0.5
    trained = training_view(found, near, fresh, directions())
    seen = judges_view(found, trained, "judge", turned(near), turned(fresh))
    return measures(trained, seen, directions(), np.ones(K), [True] * K, factor_table(found, CLASSES))


def turned(z: Array) -> Array:
    """What another encoder sees: the same, on other axes and with one more that says nothing."""
    turn = np.linalg.qr(np.random.default_rng(5).standard_normal((D + 1, D + 1)))[0]
    return np.concatenate([z, np.zeros((*z.shape[:-1], 1))], -1) @ turn


CLASSES = {"hair": ("none", "red"), "style": ("a", "b", "c")}


def with_judge(sweep: Sweep, hair: float = 0.0) -> Sweep:
    """The same with a judge who sees all that the encoder does, and hair turn red by `hair` from −1 to +1 unit."""
    red = np.broadcast_to(0.5 + hair * SCALES / 6, (S, len(SCALES)))
    style = np.random.default_rng(sweep.slider).dirichlet(np.ones(3), (S, len(SCALES)))
    return Sweep(
        sweep.slider,
        sweep.z_SMD,
        sweep.images_SMHWC,
        turned(sweep.z_SMD),
        {"hair": np.stack([1 - red, red], -1), "style": style},
    )


def test_perfect_sliders_measure_perfect() -> None:
    v = directions().components_KD
    m = judged([swept(k, 0.1 * v[k]) for k in range(K)])
    for k, s in enumerate(m["sliders"]):
        assert s["index"] == k and s["own_direction_largest"] is True
        assert s["alignment"] == pytest.approx(1) and s["consistency"] == pytest.approx(1) and s["monotone_share"] == 1
        assert s["realism"] > 0.7
    np.testing.assert_allclose(m["leakage"], np.eye(K), atol=1e-9)
    assert m["mean"]["alignment"] == pytest.approx(1) and m["mean"]["effective_rank"] == pytest.approx(K)
    assert m["seeds"] == S and m["encoder"] == "test"


def test_a_slider_that_does_anothers_thing_is_found_out() -> None:
    v = directions().components_KD
    m = judged([swept(0, 0.1 * v[1]), swept(1, 0.1 * v[1]), swept(2, -0.1 * v[2])])
    assert [s["own_direction_largest"] for s in m["sliders"]] == [False, True, False]
    assert m["sliders"][0]["alignment"] == pytest.approx(0, abs=1e-9) and m["sliders"][2]["alignment"] == pytest.approx(
        -1
    )
    assert m["leakage"][0][1] == pytest.approx(1)


def test_the_minus_side_counts_as_much_as_the_plus_side() -> None:
    """A slider that goes toward v at both signs is half wrong."""
    v = directions().components_KD
    m = judged([swept(0, 0.1 * v[0], bend=abs), swept(1, 0.1 * v[1]), swept(2, 0.1 * v[2])])
    assert m["sliders"][0]["alignment"] == pytest.approx(0, abs=1e-9)
    assert m["sliders"][0]["monotone_share"] == 0


def test_images_far_from_the_models_own_are_not_real() -> None:
    v = directions().components_KD
    m = judged([swept(0, 50 * v[0]), swept(1, 0.01 * v[1]), swept(2, 0.1 * v[2])])
    assert m["sliders"][0]["realism"] == 0 == m["sliders"][0]["realism_2"]
    assert m["sliders"][1]["realism"] > 0.7


def test_noise_lowers_alignment_and_consistency() -> None:
    v = directions().components_KD
    m = judged([swept(0, 0.1 * v[0], noise=0.1), swept(1, 0.1 * v[1]), swept(2, 0.1 * v[2])])
    assert 0.05 < m["sliders"][0]["alignment"] < 0.7 and m["sliders"][0]["consistency"] < 0.7


def test_scales_are_those_the_report_shows() -> None:
    assert both_ways(SIZES).tolist() == SCALES.tolist() == [-3, -2, -1, 0, 1, 2, 3]


# ---- the judge, the factors, the intervals


def test_a_judge_that_sees_the_same_measures_the_same() -> None:
    """Its directions are carried over from the base images; where it sees all the encoder sees, every measure
    agrees."""
    v = directions().components_KD
    m = judged([with_judge(swept(k, 0.1 * v[k], noise=0.02)) for k in range(K)])
    assert m["judge"]["encoder"] == m["realism_encoder"] == "judge"
    for key in ("consistency", "realism", "realism_2"):
        assert m["judge"]["mean"][key] == pytest.approx(m["mean"][key]), key
    assert m["judge"]["mean"]["alignment"] == pytest.approx(m["mean"]["alignment"], abs=0.1)
    assert all(s["own_direction_largest"] is True for s in m["judge"]["sliders"])


def test_without_a_judge_nothing_is_said_of_one() -> None:
    v = directions().components_KD
    m = judged([swept(k, 0.1 * v[k]) for k in range(K)])
    assert m["judge"] is None and m["factors"] is None and m["realism_encoder"] == "test"


def test_the_factor_table_names_what_a_slider_does() -> None:
    v = directions().components_KD
    told = judged([with_judge(swept(k, 0.1 * v[k]), hair=1.5 if k == 1 else 0.0) for k in range(K)])["factors"]
    assert told["names"] == ["hair", "style"]
    assert told["effects"][1][0] == pytest.approx(0.5) and told["becomes"][1][0] == ["none", "red"]
    assert told["effects"][0][0] == 0 and told["becomes"][0][0] is None
    assert told["gap"][1] > 0.3 and told["own_sliders"] >= 1


def test_unrelated_images_score_nothing() -> None:
    """Pairs of a model's own images: as large as changes get, and without a common direction. Their shares alone would
    look well."""
    v, rng = directions().components_KD, np.random.default_rng(0)
    found = [with_judge(swept(k, 0.1 * v[k]), hair=1.5) for k in range(K)]
    read = {name: np.eye(len(values))[rng.integers(len(values), size=400)] for name, values in CLASSES.items()}
    chance = unrelated(read, rng, sliders=60, seeds=16)
    assert abs(chance["gap"]) < 0.05 and chance["disentanglement"] < 0.1
    assert factor_intervals(found, CLASSES)["gap"]["low"] > 0.1 and chance["disentanglement_of_shares"] > 0.3


def test_intervals_hold_their_value_and_narrow_with_certainty() -> None:
    v = directions().components_KD
    sure, unsure = ([swept(k, 0.1 * v[k], noise=n) for k in range(K)] for n in (0.001, 0.1))
    base = np.random.default_rng(9).standard_normal((60, D)) * 0.5
    wide, narrow = (
        with_intervals(training_view(found, base, base[:30] + 0.01, directions())) for found in (unsure, sure)
    )
    for table in (wide, narrow):
        for key, value in table["mean"].items():
            assert value["low"] <= value["value"] <= value["high"], key
        assert len(table["sliders"]) == K
    widths = [t["mean"]["alignment"]["high"] - t["mean"]["alignment"]["low"] for t in (wide, narrow)]
    assert widths[0] > 10 * widths[1]


def test_a_slider_measured_on_anothers_direction_scores_nothing() -> None:
    v = directions().components_KD
    found = [swept(k, 0.1 * v[k]) for k in range(K)]
    base = np.random.default_rng(9).standard_normal((60, D)) * 0.5
    view = training_view(found, base, base[:30] + 0.01, directions())
    assert view.against(v)["alignment"] == pytest.approx(1)
    assert view.against(np.roll(v, 1, axis=0))["alignment"] == pytest.approx(0, abs=1e-9)


def test_a_span_ends_where_pictures_are_as_unlike_as_two_seeds() -> None:
    v = directions().components_KD
    base = np.random.default_rng(9).standard_normal((60, D)) * 0.5
    apart = float(np.median([np.linalg.norm(a - b) for i, a in enumerate(base[:30]) for b in base[:i]]))
    found = [swept(0, 0.9 * apart * v[0]), swept(1, 0.4 * apart * v[1]), swept(2, -0.1 * v[2])]
    assert training_view(found, base, base[:30], directions()).spans().tolist() == [[-1, 1], [-2, 2], [0, 0]]
