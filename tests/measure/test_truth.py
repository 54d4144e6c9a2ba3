"""Effects on true factors: sliders whose effects are known by hand, and sliders and codes that do or say nothing."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import entropy
from sklearn.linear_model import Ridge
from sklearn.metrics import mutual_info_score
from sklearn.preprocessing import StandardScaler
from support import spoiled

from sliderspace.core.arrays import Array
from sliderspace.core.errors import BadInput
from sliderspace.measure.codes import (
    completeness,
    disentanglement,
    informativeness,
    mutual_information,
    mutual_information_gap,
)
from sliderspace.measure.effects import agreement, coherent_change, effects, held_out_gap, own_sliders, single_factor
from sliderspace.measure.intervals import bootstrap

RNG = np.random.default_rng(0)
PERMUTED = np.eye(4)[[2, 0, 3, 1]] * np.array(
    [[0.9], [0.5], [0.3], [0.7]]
)  # each slider one factor, each by its own amount
UNIFORM = np.full((4, 3), 0.4)
CODES = RNG.normal(size=(300, 4))
LABELS = np.stack([CODES[:, 0] > 0, CODES[:, 1] > 0.5], axis=1).astype(int)


def probabilities(rng: np.random.Generator, *shape: int) -> Array:
    return rng.dirichlet(np.ones(shape[-1]), size=shape[:-1])


def change(seed: int, *shape: int) -> Array:
    """Unrelated changes."""
    rng = np.random.default_rng(seed)
    return probabilities(rng, *shape) - probabilities(rng, *shape)


def move(source: int, target: int, *, classes: int = 3, seeds: int = 5) -> Array:
    """[S, C]: every image of class `source` becomes `target`."""
    return np.tile(np.eye(classes)[target] - np.eye(classes)[source], (seeds, 1))


# ---- coherent change


def test_the_same_move_on_every_seed() -> None:
    assert coherent_change(move(0, 2)) == pytest.approx(1)
    assert coherent_change(move(0, 2) * 0.3) == pytest.approx(0.3)
    assert coherent_change(move(0, 2, seeds=2)) == pytest.approx(1)
    assert coherent_change(np.zeros((5, 3))) == 0


def test_agreement_by_hand() -> None:
    there, elsewhere = [1, -1, 0], [1, 0, -1]  # ⟨d, d⟩ = 2, ⟨there, elsewhere⟩ = 1
    assert agreement([[there, there, elsewhere]]) == pytest.approx((2 + 1 + 1) / 3)
    assert agreement([[there, [-1, 1, 0]]]) == pytest.approx(-2)
    assert coherent_change([there, there, elsewhere]) == pytest.approx(np.sqrt(4 / 6))
    assert coherent_change([there, [-1, 1, 0]]) == 0


def test_setting_a_class_whatever_it_was() -> None:
    for classes in (2, 5):
        eye = np.eye(classes)
        d_SC = eye[0] - eye[np.random.default_rng(0).integers(classes, size=4000)]
        assert coherent_change(d_SC) == pytest.approx(np.sqrt((1 - 1 / classes) / 2), abs=0.02)


def test_both_ways_is_at_most_a_half() -> None:
    """Turned round, a way back is a way there; and one image cannot go from A to B twice."""
    there, stays = move(0, 1), np.zeros((5, 3))
    assert coherent_change(np.stack([there, stays])) == pytest.approx(0.5)
    assert coherent_change(np.stack([there, -there])) == 0  # the same at +1 and -1, then turned round
    assert coherent_change(np.stack([move(0, 1), -move(0, 2)])) == pytest.approx(0.5)


def test_readings_are_averaged_first() -> None:
    """Readings of a seed that agree with each other but with no other seed are no coherent change."""
    alike = np.stack([move(0, 1, seeds=1)[0], move(1, 2, seeds=1)[0], move(2, 0, seeds=1)[0]])
    assert agreement(np.stack([alike, alike])) == pytest.approx(agreement(alike[None])) == pytest.approx(-1)
    assert agreement(np.concatenate([alike, alike])[None]) > -0.5  # as six seeds it would look better
    d_RSC = change(0, 3, 6, 4)
    assert agreement(d_RSC) == pytest.approx(agreement(d_RSC.mean(axis=0)[None]))
    assert coherent_change(d_RSC) == coherent_change(d_RSC.mean(axis=0))


@pytest.mark.parametrize("seeds", [2, 5, 30])
def test_unrelated_changes_agree_by_zero_on_average(seeds: int) -> None:
    draws = np.array([agreement(d_SC[None]) for d_SC in change(seeds, 2000, seeds, 3)])
    assert abs(draws.mean()) < 4 * draws.std() / np.sqrt(len(draws))
    biased = np.array([(d_SC.mean(axis=0) ** 2).sum() for d_SC in change(seeds, 2000, seeds, 3)])  # the control
    assert biased.mean() > 4 * biased.std() / np.sqrt(len(biased))


@pytest.mark.parametrize("seeds", [2, 20])
def test_agreement_is_unbiased_whatever_the_number_of_seeds(seeds: int) -> None:
    rng, true = np.random.default_rng(1), np.array([0.5, 0.2, 0.3]) - 1 / 3
    d_NSC = rng.dirichlet([5, 2, 3], size=(2000, seeds)) - rng.dirichlet([1, 1, 1], size=(2000, seeds))
    draws = np.array([agreement(d_SC[None]) for d_SC in d_NSC])
    assert draws.mean() == pytest.approx((true**2).sum(), abs=4 * draws.std() / np.sqrt(len(draws)))
    assert draws.std() / np.sqrt(len(draws)) < (true**2).sum() / 4  # else 0 would pass too


def test_unrelated_changes_score_little() -> None:
    eye = np.eye(5)
    few, many = (
        [
            coherent_change(d_SC)
            for d_SC in eye[RNG.integers(5, size=(300, seeds))] - eye[RNG.integers(5, size=(300, seeds))]
        ]
        for seeds in (16, 144)
    )
    assert np.median(few) < 0.05 and np.quantile(few, 0.9) < 1 / np.sqrt(16)
    assert np.quantile(many, 0.9) < 1 / np.sqrt(144)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), seeds=st.integers(2, 7), readings=st.integers(1, 3), classes=st.integers(2, 5))
def test_coherence_ignores_order_and_sign(seed: int, seeds: int, readings: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    d_RSC = (change(seed, readings, seeds, classes) + move(0, 1, classes=classes, seeds=seeds) * rng.random()) / 2
    score = coherent_change(d_RSC)
    assert 0 <= score <= 1
    assert coherent_change(-d_RSC) == pytest.approx(score, abs=1e-7)
    for axis in range(3):  # readings, seeds, classes
        assert coherent_change(rng.permutation(d_RSC, axis=axis)) == pytest.approx(score, abs=1e-7)
    assert coherent_change(d_RSC * 0.5) == pytest.approx(score / 2)


def test_named_seeds() -> None:
    d_RSC = change(3, 2, 6, 4)
    assert agreement(d_RSC, [4, 9, 2, 7, 0, 1]) == pytest.approx(agreement(d_RSC))
    pairs = [(s, t) for s in range(6) for t in range(6) if [0, 0, 1, 2, 2, 2][s] != [0, 0, 1, 2, 2, 2][t]]
    mean_SC = d_RSC.mean(axis=0)
    expected = np.mean([mean_SC[s] @ mean_SC[t] for s, t in pairs])
    assert agreement(d_RSC, [0, 0, 1, 2, 2, 2]) == pytest.approx(expected)
    assert np.isnan(agreement(d_RSC, np.zeros(6, int)))
    with pytest.raises(BadInput, match="seeds"):
        agreement(d_RSC, [0, 1])


def test_a_bootstrap_does_not_take_repeats_for_agreement() -> None:
    """Over 60 tables of unrelated changes, the middle of the interval is about 0; unless repeats of a seed count as
    agreeing."""
    d_KRSC = change(4, 60, 2, 12, 4)
    for seeds, expected in ((True, 0.0), (False, (d_KRSC.mean(axis=1) ** 2).sum(axis=-1).mean() / 12)):

        def statistic(index_S: Array, seeds: bool = seeds) -> list[float]:
            return [agreement(d_RSC[:, index_S], index_S if seeds else None) for d_RSC in d_KRSC]

        low, high = bootstrap(statistic, 12, resamples=50, level=0.01)
        middle_K = (low + high) / 2
        assert middle_K.mean() == pytest.approx(expected, abs=3 * middle_K.std() / np.sqrt(60))
        assert expected == 0 or middle_K.mean() > 4 * middle_K.std() / np.sqrt(60)


def test_effects() -> None:
    hair = np.stack([move(0, 2), move(1, 0) * 0.4, change(5, 5, 3)])[:, None]
    age = np.stack([move(0, 1, classes=2) * 0.1, move(1, 0, classes=2), np.zeros((5, 2))])[:, None]
    table = effects({"hair": hair, "age": age})
    assert_allclose(table[:2], [[1, 0.1], [0.4, 1]])
    assert_allclose(table[2], [coherent_change(hair[2]), 0])
    assert_array_equal(effects({"age": age, "hair": hair}), table[:, ::-1])
    named = [0, 0, 1, 2, 3]
    assert effects({"hair": hair}, named)[2, 0] == pytest.approx(coherent_change(hair[2], named))


# ---- tables of effects


def test_a_permutation_is_disentangled_and_complete() -> None:
    for score in (disentanglement, completeness):
        each, mean = score(PERMUTED)
        assert_allclose(each, np.ones(4))
        assert mean == pytest.approx(1)
    assert own_sliders(PERMUTED) == 4
    assert single_factor(PERMUTED).all()


def test_a_uniform_table_is_nothing_of_the_kind() -> None:
    for score, length in ((disentanglement, 4), (completeness, 3)):
        each, mean = score(UNIFORM)
        assert_allclose(each, np.zeros(length), atol=1e-12)
        assert mean == pytest.approx(0, abs=1e-12)
    assert own_sliders(UNIFORM) == 0
    assert not single_factor(UNIFORM).any()


def test_disentanglement_by_hand() -> None:
    table = [[0.6, 0.2, 0.0], [0.0, 0.2, 0.0]]
    first = 1 + (0.75 * np.log(0.75) + 0.25 * np.log(0.25)) / np.log(3)
    each, mean = disentanglement(table)
    assert_allclose(each, [first, 1])
    assert mean == pytest.approx(0.8 * first + 0.2 * 1)
    each, mean = completeness(table)
    assert_allclose(each, [1, 0, 0], atol=1e-12)  # one slider, two alike, none
    assert mean == pytest.approx(0.6)


def test_dead_sliders_have_no_weight() -> None:
    each, mean = disentanglement(np.vstack([PERMUTED, np.zeros(4)]))
    assert_allclose(each, [1, 1, 1, 1, 0])
    assert mean == pytest.approx(1)
    each, mean = disentanglement(np.zeros((2, 3)))
    assert_array_equal(each, [0, 0])
    assert mean == 0


def test_beside_chance_next_to_nothing_is_shared_by_all() -> None:
    table = [[0.01, 0.0, 0.0], [0.8, 0.0, 0.0]]
    assert_allclose(disentanglement(table)[0], [1, 1])
    nothing, much = disentanglement(table, 0.1)[0]
    assert nothing < 0.01 and much > 0.3
    assert completeness(np.transpose(table), 0.1)[0] == pytest.approx([nothing, much])


# ---- the gap


def test_the_gap_of_sliders_known_by_hand() -> None:
    one, both, none = np.stack([move(0, 1), move(0, 2), np.zeros((5, 3))])[:, None, None]
    hair, age = np.concatenate([one, both, none]), np.concatenate([none, 0.6 * both, none])
    assert_allclose(held_out_gap({"hair": hair, "age": age}), [1, 0.4, 0])
    assert_allclose(held_out_gap({"age": age, "hair": hair}), [1, 0.4, 0])
    assert_allclose(held_out_gap({"hair": hair}), [1, 1, 0])  # with one factor, its effect
    assert_allclose(held_out_gap({"hair": hair, "age": hair}), [0, 0, 0])  # two factors alike


def test_unrelated_changes_have_no_gap() -> None:
    """Over 400 sliders of chance the mean gap is 0; taken on the seeds that named the factors it would not be."""
    tables = {name: change(seed, 400, 1, 16, 4) for seed, name in enumerate("abcdef")}
    gap_K = held_out_gap(tables)
    assert abs(gap_K.mean()) < 4 * gap_K.std() / np.sqrt(len(gap_K))
    ascending = np.sort(effects(tables), axis=1)
    seen_K = ascending[:, -1] - ascending[:, -2]  # the control
    assert seen_K.mean() > 4 * seen_K.std() / np.sqrt(len(seen_K)) and seen_K.mean() > 0.02


def test_a_gap_needs_two_seeds_in_each_half() -> None:
    table = change(6, 2, 1, 8, 3)
    assert np.isnan(held_out_gap({"f": table[:, :, :3]})).all()
    assert np.isnan(held_out_gap({"f": table}, [0, 0, 1, 1, 1, 2, 2, 2])).all()  # eight images, three seeds
    assert np.isfinite(held_out_gap({"f": table}, [0, 0, 1, 1, 1, 2, 2, 3])).all()


def test_one_factor() -> None:
    assert_array_equal(disentanglement([[0.6], [0.0]])[0], [1, 0])
    assert_array_equal(single_factor([[0.6], [0.0]]), [True, False])
    assert own_sliders([[0.6], [0.3]]) == 1


def test_own_sliders_are_counted_by_factor() -> None:
    table = [[0.8, 0.1], [0.5, 0.2], [0.3, 0.5], [0.05, 0.19]]  # two of factor 0, one that moves both, one too weak
    assert_array_equal(single_factor(table), [True, True, False, False])
    assert own_sliders(table) == 1
    assert own_sliders(table, floor=0.15) == 2
    assert own_sliders(table, floor=0.9) == 0
    assert_array_equal(
        single_factor([[0.2, 0.1], [0.2, 0.11], [0.19, 0.0]]), [True, False, False]
    )  # just enough is enough


@settings(max_examples=50, deadline=None)
@given(
    table=arrays(np.float64, st.tuples(st.integers(1, 5), st.integers(2, 5)), elements=st.floats(0, 1)),
    seed=st.integers(0, 2**32 - 1),
)
def test_tables_ignore_order(table: Array, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, columns = rng.permutation(table.shape[0]), rng.permutation(table.shape[1])
    mixed = table[np.ix_(rows, columns)]
    for score, order in ((disentanglement, rows), (completeness, columns)):
        (each, mean), (other, other_mean) = score(table), score(mixed)
        assert_allclose(other, each[order], atol=1e-9)
        assert other_mean == pytest.approx(mean, abs=1e-9)
        assert each.min() >= 0 and each.max() <= 1 and 0 <= mean <= 1
    assert own_sliders(mixed) == own_sliders(table) <= min(table.shape)


@settings(max_examples=50, deadline=None)
@given(table=arrays(np.float64, (3, 4), elements=st.floats(1e-3, 1)))
def test_disentanglement_agrees_with_scipys_entropy(table: Array) -> None:
    expected = 1 - entropy(table, base=4, axis=1)
    assert_allclose(disentanglement(table)[0], expected, atol=1e-12)
    assert disentanglement(table)[1] == pytest.approx(np.average(expected, weights=table.sum(axis=1)), abs=1e-12)
    assert_allclose(completeness(table)[0], 1 - entropy(table, base=3, axis=0), atol=1e-12)


# ---- codes and labels


@settings(max_examples=50, deadline=None)
@given(data=st.data(), count=st.integers(1, 60))
def test_mutual_information_agrees_with_sklearns(data: st.DataObject, count: int) -> None:
    codes, labels = (data.draw(arrays(np.int64, count, elements=st.integers(0, 4))) for _ in range(2))
    found = mutual_information(codes[:, None] * 0.1, labels[:, None], bins=4 * count)[
        0, 0
    ]  # so many bins keep all codes apart
    assert found == pytest.approx(mutual_info_score(codes, labels), abs=1e-9)


@pytest.mark.parametrize("bins", [2, 5, 20])
def test_bins_hold_equal_counts(bins: int) -> None:
    cut = CODES.argsort(axis=0).argsort(axis=0) * bins // len(CODES)
    expected = [[mutual_info_score(cut[:, k], LABELS[:, f]) for f in range(2)] for k in range(4)]
    assert_allclose(mutual_information(CODES, LABELS, bins), expected, atol=1e-12)
    assert_allclose(mutual_information(np.exp(CODES), LABELS, bins), expected, atol=1e-12)  # only the order counts
    assert_allclose(mutual_information(-CODES, LABELS, bins), expected, atol=1e-12)


def test_a_constant_code_says_nothing() -> None:
    ordered = np.repeat([0, 1], 50)[:, None]  # cut by place, these codes would say it all
    assert mutual_information(np.full((100, 1), 0.3), ordered)[0, 0] == 0
    assert mutual_information(ordered + 0.3, ordered)[0, 0] == pytest.approx(np.log(2))
    rare = (np.arange(100) < 3).astype(int)[:, None]
    for code in (rare, -rare):
        assert mutual_information(code, rare)[0, 0] == pytest.approx(entropy([3, 97]))


def test_the_gap_by_hand() -> None:
    label = np.arange(400) % 4
    labels = label[:, None]
    gap = mutual_information_gap
    assert gap(np.stack([label, np.zeros(400)], axis=1), labels)[0] == pytest.approx(1)
    assert gap(np.stack([label, label // 2], axis=1), labels)[0] == pytest.approx(0.5)
    assert gap(np.stack([label, -label, label // 2], axis=1), labels)[0] == pytest.approx(0)
    assert gap(np.stack([label // 2], axis=1), labels)[0] == pytest.approx(0.5)  # one code: the second is 0


def test_a_factor_of_one_class_does_not_count() -> None:
    label = np.arange(400) % 4
    labels = np.stack([label, np.full(400, 7), np.full(400, -1), label // 2], axis=1)
    each, mean = mutual_information_gap(np.stack([label, label % 2], axis=1), labels)
    assert_allclose(each, [0.5, np.nan, np.nan, 1], atol=1e-12)
    assert mean == pytest.approx(0.75)
    assert np.isnan(mutual_information_gap(CODES[:50], np.zeros((50, 2), int))[1])
    assert_array_equal(
        mutual_information(CODES[:, :1], np.stack([LABELS[:, 0] * 0, LABELS[:, 0] * 0 - 1], axis=1)), [[0, np.nan]]
    )


def test_what_is_not_said_is_left_out() -> None:
    said = RNG.random(300) < 0.6
    gaps = np.where(said[:, None], LABELS, [[-1, -5]])
    gaps[:, 1] = LABELS[:, 1]  # only the first factor has any
    both = mutual_information(CODES, gaps)
    assert_allclose(both[:, 0], mutual_information(CODES[said], LABELS[said])[:, 0])
    assert_allclose(both[:, 1], mutual_information(CODES, LABELS)[:, 1])
    assert_allclose(mutual_information_gap(CODES, gaps)[0][0], mutual_information_gap(CODES[said], LABELS[said])[0][0])
    spoilt = np.where(said[:, None], CODES, 1e6)
    assert informativeness(spoilt, gaps[:, 0]) == informativeness(CODES, gaps[:, 0]) > 0.7


def test_informativeness_of_linear_codes_and_of_none() -> None:
    rng = np.random.default_rng(5)
    labels = rng.integers(4, size=500)
    codes = np.eye(4)[labels] @ rng.normal(size=(4, 6)) + 0.05 * rng.normal(size=(500, 6))
    assert informativeness(codes, labels) > 0.97
    assert informativeness(codes, rng.permutation(labels)) < 0.08
    assert informativeness(np.ones((500, 3)), labels) == 0
    assert informativeness(np.hstack([codes, np.full((500, 2), 0.1)]), labels) == informativeness(
        codes, labels
    )  # dead codes


def test_informativeness_is_over_the_majority() -> None:
    rng = np.random.default_rng(6)
    labels = (rng.random(2000) < 0.1).astype(int)
    assert informativeness(rng.normal(size=(2000, 3)), labels) < 0.02  # 90 % right, by saying 0
    half = np.where(rng.random(2000) < 0.5, labels, 0)[:, None]  # tells of half of the rare ones
    assert informativeness(half, labels) == pytest.approx(0.5, abs=0.08)


@pytest.mark.parametrize(("folds", "ridge"), [(5, 1e-2), (3, 1.0)])
def test_informativeness_agrees_with_sklearns_ridge(folds: int, ridge: float) -> None:
    labels = (np.digitize(CODES[:, 0] + CODES[:, 1] + RNG.normal(size=300), [-1, 0.3]) + 3) % 7  # classes 3, 4, 5
    codes = CODES @ [
        [1, 1, 0, 0],
        [0, 0.2, 0, 0],
        [0, 0, 1, 0],
        [0, 0, 0, 1],
    ]  # two nearly alike, so that the ridge matters
    x_NK, y_NC, right = StandardScaler().fit_transform(codes), np.eye(3)[labels - 3], 0
    for fold in range(folds):
        train = np.arange(300) % folds != fold
        model = Ridge(alpha=ridge * train.sum()).fit(x_NK[train], y_NC[train])
        right += (model.predict(x_NK[~train]).argmax(axis=1) == labels[~train] - 3).sum()
    majority = np.bincount(labels).max() / 300
    expected = (right / 300 - majority) / (1 - majority)
    assert 0.1 < expected < 0.9
    assert informativeness(codes, labels, folds, ridge) == pytest.approx(expected)
    assert informativeness(codes, labels, folds, ridge / 300) != pytest.approx(expected)
    assert informativeness(codes * [1e-3, 1, 10, 1e3] + 5, labels, folds, ridge) == pytest.approx(expected)


def test_images_of_a_seed_can_share_a_fold() -> None:
    """Codes that only name the seed predict a second image of it, and nothing of new seeds."""
    labels = np.random.default_rng(7).integers(2, size=51)
    for seeds, (low, high) in ((50, (0, 0.4)), (51, (0.9, 1))):  # seed s is in fold s mod 5 both times, or not
        score = informativeness(np.tile(np.eye(seeds), (2, 1)), np.tile(labels[:seeds], 2))
        assert low <= score <= high


def test_informativeness_without_two_classes_or_folds() -> None:
    assert np.isnan(informativeness(CODES, np.full(300, 2)))
    assert np.isnan(informativeness(CODES, np.full(300, -1)))
    assert np.isnan(informativeness(CODES, np.where(np.arange(300) < 5, 1, -1)))
    with pytest.raises(BadInput, match="one fold"):
        informativeness(CODES, np.where(np.arange(300) % 5 == 0, LABELS[:, 0], -1))


# ---- the contract on entry

CHANGES = change(8, 3, 2, 5, 4)
ENTRIES: list[tuple[Callable[..., object], list[Array]]] = [
    (agreement, [CHANGES[0]]),
    (lambda x: effects({"f": x}), [CHANGES]),
    (disentanglement, [PERMUTED]),
    (completeness, [PERMUTED]),
    (lambda x: held_out_gap({"f": x}), [CHANGES]),
    (single_factor, [PERMUTED]),
    (own_sliders, [PERMUTED]),
    (mutual_information, [CODES, LABELS]),
    (mutual_information_gap, [CODES, LABELS]),
    (informativeness, [CODES, LABELS[:, 0]]),
]
PLACES = [(function, given_, place) for function, given_ in ENTRIES for place in range(len(given_))]


@pytest.mark.parametrize(("function", "given_", "place"), PLACES)
@spoiled.each_way
def test_arrays_are_checked(
    function: Callable[..., object], given_: list[Array], place: int, spoil: Callable[[Array], Array]
) -> None:
    function(*given_)
    with pytest.raises(BadInput):
        function(*given_[:place], spoil(given_[place]), *given_[place + 1 :])


@pytest.mark.parametrize("function", [mutual_information, mutual_information_gap])
def test_images_are_counted(function: Callable[..., object]) -> None:
    with pytest.raises(BadInput, match="images do not match: 299 and 300"):
        function(CODES[1:], LABELS)
    with pytest.raises(BadInput, match="images do not match: 300 and 299"):
        informativeness(CODES, LABELS[1:, 0])


@pytest.mark.parametrize("bad", [np.zeros(3), np.zeros((0, 3)), np.full((4, 3), np.nan), np.zeros((1, 1, 4, 3))])
def test_changes_have_seeds_and_classes(bad: Array) -> None:
    with pytest.raises(BadInput):
        coherent_change(bad)


def test_changes_are_of_probabilities() -> None:
    p = probabilities(np.random.default_rng(9), 5, 3)
    for bad in (p, move(0, 1) * 1.5, move(0, 1) + 0.01):
        with pytest.raises(BadInput, match="differences of class probabilities"):
            coherent_change(bad)
    half = p.astype(np.float16) - p[::-1].astype(np.float16)  # rounded, but differences all the same
    assert coherent_change(half) == pytest.approx(coherent_change(p - p[::-1]), abs=1e-2)


def test_effects_need_the_same_sliders_and_seeds() -> None:
    with pytest.raises(BadInput, match="at least one factor"):
        effects({})
    for other in (CHANGES[1:], CHANGES[:, :, 1:]):
        with pytest.raises(BadInput, match="sliders and seeds do not match"):
            effects({"one": CHANGES, "other": other})
    assert effects({"one": CHANGES, "other": CHANGES[:, :1]}).shape == (3, 2)  # readings may differ


def test_too_little_to_judge() -> None:
    with pytest.raises(BadInput, match="at least 2"):
        coherent_change(move(0, 1, seeds=1))
    with pytest.raises(BadInput, match="at least 2"):
        effects({"f": CHANGES[:, :, :1]})


@pytest.mark.parametrize("function", [disentanglement, completeness, single_factor, own_sliders])
def test_effects_are_not_negative(function: Callable[..., object]) -> None:
    with pytest.raises(BadInput, match="below 0"):
        function(PERMUTED - 0.1)


@pytest.mark.parametrize("floor", [0, -0.1, float("nan")])
def test_a_floor_keeps_dead_sliders_out(floor: float) -> None:
    for function in (single_factor, own_sliders):
        with pytest.raises(BadInput, match="floor"):
            function(PERMUTED, floor)


def test_settings_make_sense() -> None:
    with pytest.raises(BadInput, match="bins"):
        mutual_information(CODES, LABELS, bins=1)
    for options in ({"folds": 1}, {"ridge": 0.0}, {"ridge": float("nan")}):
        with pytest.raises(BadInput, match="folds"):
            informativeness(CODES, LABELS[:, 0], **options)
    for labels in (LABELS.astype(float), LABELS > 0):
        with pytest.raises(BadInput, match="integers"):
            mutual_information(CODES, labels)
