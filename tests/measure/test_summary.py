"""Measures of planted sweeps whose answers are known: both views, the factor table, and the intervals."""

from typing import Any

import numpy as np
import pytest

from sliderspace.core.arrays import Array
from sliderspace.core.errors import BadInput
from sliderspace.core.settings import Measuring
from sliderspace.measure.factors import factor_table, unrelated
from sliderspace.measure.factors import with_intervals as factor_intervals
from sliderspace.measure.results import Measures
from sliderspace.measure.summary import measures, with_intervals
from sliderspace.measure.views import ends, judges_view, training_view
from sliderspace.method.directions import Directions
from sliderspace.method.sweeps import Sweep, both_ways

SIZES = Measuring().sizes
SCALES = both_ways(SIZES)

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


def judged(found: list[Sweep]) -> Measures:
    rng = np.random.default_rng(9)
    near, fresh = rng.standard_normal((400, D)) * 0.5, rng.standard_normal((40, D)) * 0.5
    trained = training_view(found, SIZES, near, fresh, directions())
    seen = judges_view(found, trained, "judge", turned(near), turned(fresh))
    return measures(trained, seen, directions(), np.ones(K), [True] * K, factor_table(found, CLASSES, SIZES))


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
    for k, s in enumerate(m.sliders):
        assert s.index == k and s.own_direction_largest is True
        assert s.alignment == pytest.approx(1) and s.consistency == pytest.approx(1) and s.monotone_share == 1
        assert s.realism > 0.7
    np.testing.assert_allclose(m.leakage, np.eye(K), atol=1e-9)
    assert m.mean.alignment == pytest.approx(1) and m.mean.effective_rank == pytest.approx(K)
    assert m.seeds == S and m.encoder == "test"


def test_a_slider_that_does_anothers_thing_is_found_out() -> None:
    v = directions().components_KD
    m = judged([swept(0, 0.1 * v[1]), swept(1, 0.1 * v[1]), swept(2, -0.1 * v[2])])
    assert [s.own_direction_largest for s in m.sliders] == [False, True, False]
    assert m.sliders[0].alignment == pytest.approx(0, abs=1e-9) and m.sliders[2].alignment == pytest.approx(-1)
    assert m.leakage[0][1] == pytest.approx(1)


def test_the_minus_side_counts_as_much_as_the_plus_side() -> None:
    """A slider that goes toward v at both signs is half wrong."""
    v = directions().components_KD
    m = judged([swept(0, 0.1 * v[0], bend=abs), swept(1, 0.1 * v[1]), swept(2, 0.1 * v[2])])
    assert m.sliders[0].alignment == pytest.approx(0, abs=1e-9)
    assert m.sliders[0].monotone_share == 0


def test_images_far_from_the_models_own_are_not_real() -> None:
    v = directions().components_KD
    m = judged([swept(0, 50 * v[0]), swept(1, 0.01 * v[1]), swept(2, 0.1 * v[2])])
    assert m.sliders[0].realism == 0 == m.sliders[0].realism_2
    assert m.sliders[1].realism > 0.7


def test_noise_lowers_alignment_and_consistency() -> None:
    v = directions().components_KD
    m = judged([swept(0, 0.1 * v[0], noise=0.1), swept(1, 0.1 * v[1]), swept(2, 0.1 * v[2])])
    assert 0.05 < m.sliders[0].alignment < 0.7 and m.sliders[0].consistency < 0.7


@pytest.mark.parametrize("sizes", [(1.0, 2.0, 3.0), (1.0, 2.5)])
def test_other_sizes_measure_the_same_at_one_unit(sizes: tuple[float, ...]) -> None:
    """Where pictures are dear, fewer strengths are drawn; what is measured at none of them has no value."""
    v, rng = directions().components_KD, np.random.default_rng(9)
    near, fresh = rng.standard_normal((400, D)) * 0.5, rng.standard_normal((40, D)) * 0.5
    scales_M = both_ways(sizes)
    found = [
        Sweep(k, s.z_SMD[:, :1] * 0 + 0.1 * scales_M[None, :, None] * v[k], s.images_SMHWC)
        for k, s in enumerate(map(unmoved, range(K)))
    ]
    trained = training_view(found, sizes, near, fresh, directions())
    m = measures(trained, None, directions(), np.ones(K), [True] * K, None)
    assert m.sizes == sizes and all(len(s.consistency_by_size) == len(sizes) for s in m.sliders)
    assert m.mean.alignment == pytest.approx(1) and (m.mean.realism_2 is None) == (2.0 not in sizes)
    assert with_intervals(trained).mean.alignment is not None


def unmoved(k: int) -> Sweep:
    return swept(k, np.zeros(D))


def test_one_unit_is_among_the_sizes() -> None:
    assert ends(SIZES) == (4, 2) and ends(SIZES, 3.0) == (6, 0)
    with pytest.raises(BadInput, match="±1 unit"):
        ends((0.5, 2.0))


# ---- the judge, the factors, the intervals


def test_a_judge_that_sees_the_same_measures_the_same() -> None:
    """Its directions are carried over from the base images; where it sees all the encoder sees, every measure
    agrees."""
    v = directions().components_KD
    m = judged([with_judge(swept(k, 0.1 * v[k], noise=0.02)) for k in range(K)])
    assert m.judge and m.judge.encoder == m.realism_encoder == "judge"
    for key in ("consistency", "realism", "realism_2"):
        assert getattr(m.judge.mean, key) == pytest.approx(getattr(m.mean, key)), key
    assert m.judge.mean.alignment == pytest.approx(m.mean.alignment, abs=0.1)
    assert all(s.own_direction_largest is True for s in m.judge.sliders)


def test_without_a_judge_nothing_is_said_of_one() -> None:
    v = directions().components_KD
    m = judged([swept(k, 0.1 * v[k]) for k in range(K)])
    assert m.judge is None and m.factors is None and m.realism_encoder == "test"


def test_the_factor_table_names_what_a_slider_does() -> None:
    v = directions().components_KD
    told = judged([with_judge(swept(k, 0.1 * v[k]), hair=1.5 if k == 1 else 0.0) for k in range(K)]).factors
    assert told and told.names == ("hair", "style")
    assert told.effects[1][0] == pytest.approx(0.5) and told.becomes[1][0] == ("none", "red")
    assert told.effects[0][0] == 0 and told.becomes[0][0] is None
    assert (told.gap[1] or 0) > 0.3 and told.own_sliders >= 1


@pytest.mark.parametrize(("far", "effect"), [(1, 0.25), (4, 1.0)])
def test_a_number_that_goes_far_counts_for_more_than_one_that_goes_near(far: int, effect: float) -> None:
    """Five steps, of which a slider takes one or four: names apart would count the same."""
    steps, v = np.eye(5), directions().components_KD
    at_M = np.where(SCALES > 0, far, 0)
    read = {"legs": np.broadcast_to(steps[at_M], (S, len(SCALES), 5))}
    swept_one = swept(0, 0.1 * v[0])
    found = [Sweep(0, swept_one.z_SMD, swept_one.images_SMHWC, turned(swept_one.z_SMD), read)]
    names = {"legs": ("0", "1", "2", "3", "4")}
    as_number = factor_table(found, names, SIZES, {"legs": (0.0, 1.0, 2.0, 3.0, 4.0)})
    as_names = factor_table(found, names, SIZES)
    assert as_number and as_number.effects[0][0] == pytest.approx(effect)
    assert as_names and as_names.effects[0][0] == pytest.approx(1)
    assert as_number.becomes[0][0] == ("0", str(far))


def test_unrelated_images_score_nothing() -> None:
    """Pairs of a model's own images: as large as changes get, and without a common direction. Their shares alone would
    look well."""
    v, rng = directions().components_KD, np.random.default_rng(0)
    found = [with_judge(swept(k, 0.1 * v[k]), hair=1.5) for k in range(K)]
    read = {name: np.eye(len(values))[rng.integers(len(values), size=400)] for name, values in CLASSES.items()}
    chance = unrelated(read, rng, sliders=60, seeds=16)
    gap = factor_intervals(found, CLASSES, SIZES).gap
    assert abs(chance.gap or 1) < 0.05 and (chance.disentanglement or 1) < 0.1
    assert gap and (gap.low or 0) > 0.1 and (chance.disentanglement_of_shares or 0) > 0.3


def test_intervals_hold_their_value_and_narrow_with_certainty() -> None:
    v = directions().components_KD
    sure, unsure = ([swept(k, 0.1 * v[k], noise=n) for k in range(K)] for n in (0.001, 0.1))
    base = np.random.default_rng(9).standard_normal((60, D)) * 0.5
    wide, narrow = (
        with_intervals(training_view(found, SIZES, base, base[:30] + 0.01, directions())) for found in (unsure, sure)
    )
    for table in (wide, narrow):
        for key, value in table.mean:
            assert value.low <= value.value <= value.high, key
        assert len(table.sliders) == K
    widths = [t.mean.alignment.high - t.mean.alignment.low for t in (wide, narrow)]
    assert widths[0] > 10 * widths[1]


def test_a_slider_measured_on_anothers_direction_scores_nothing() -> None:
    v = directions().components_KD
    found = [swept(k, 0.1 * v[k]) for k in range(K)]
    base = np.random.default_rng(9).standard_normal((60, D)) * 0.5
    view = training_view(found, SIZES, base, base[:30] + 0.01, directions())
    assert view.against(v).alignment == pytest.approx(1)
    assert view.against(np.roll(v, 1, axis=0)).alignment == pytest.approx(0, abs=1e-9)


def test_a_span_ends_where_pictures_are_as_unlike_as_two_seeds() -> None:
    v = directions().components_KD
    base = np.random.default_rng(9).standard_normal((60, D)) * 0.5
    apart = float(np.median([np.linalg.norm(a - b) for i, a in enumerate(base[:30]) for b in base[:i]]))
    found = [swept(0, 0.9 * apart * v[0]), swept(1, 0.4 * apart * v[1]), swept(2, -0.1 * v[2])]
    assert training_view(found, SIZES, base, base[:30], directions()).spans().tolist() == [[-1, 1], [-2, 2], [0, 0]]
