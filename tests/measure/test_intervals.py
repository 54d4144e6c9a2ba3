"""The bootstrap over seeds: intervals that hold the truth as often as they say, and the statistics they must stand."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sliderspace.core.arrays import Array
from sliderspace.core.errors import BadInput
from sliderspace.measure.intervals import bootstrap


def covered(level: float, repeats: int = 200, count: int = 30) -> float:
    """How often the interval of the mean of `count` standard normal numbers holds the true mean, 0."""
    x_RS = np.random.default_rng(0).normal(size=(repeats, count))
    ends = [
        bootstrap(lambda index_S, x_S=x_S: x_S[index_S].mean(), count, seed=n, resamples=100, level=level)
        for n, x_S in enumerate(x_RS)
    ]
    return float(np.mean([low <= 0 <= high for low, high in ends]))


def test_the_interval_holds_the_true_mean_as_often_as_it_says() -> None:
    assert 0.85 <= covered(0.95) <= 1
    assert 0.35 <= covered(0.5) <= 0.62


def test_the_interval_is_as_wide_as_theory_says() -> None:
    x_S = np.random.default_rng(1).normal(size=400)
    low, high = bootstrap(lambda index_S: x_S[index_S].mean(), 400, resamples=2000)
    assert low < x_S.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * x_S.std() / np.sqrt(400), rel=0.1)


def test_a_statistic_of_any_shape() -> None:
    x_SKF = np.random.default_rng(2).normal(size=(20, 3, 2))
    low, high = bootstrap(lambda index_S: x_SKF[index_S].mean(axis=0), 20)
    assert low.shape == high.shape == (3, 2)
    assert (low < x_SKF.mean(axis=0)).all() and (x_SKF.mean(axis=0) < high).all()
    alone = bootstrap(lambda index_S: x_SKF[index_S, 2, 1].mean(), 20)  # the seeds are drawn once for all entries
    assert_allclose(alone, (low[2, 1], high[2, 1]))


def test_what_the_statistic_is_asked() -> None:
    asked: list[Array] = []
    bootstrap(lambda index_S: float(len(asked.append(index_S) or index_S)), 20, resamples=300)
    assert len(asked) == 300 and {index_S.shape for index_S in asked} == {(20,)}
    assert_array_equal(np.unique(asked), np.arange(20))
    assert any(len(np.unique(index_S)) < 20 for index_S in asked)  # with replacement
    assert np.bincount(np.concatenate(asked)).min() > 200  # each seed about 300 times


def test_of_few_seeds_it_is_asked_once_for_what_is_drawn_alike() -> None:
    asked: list[Array] = []
    x_S = np.random.default_rng(8).normal(size=4)
    found = bootstrap(lambda index_S: x_S[asked.append(index_S) or index_S].mean(), 4, resamples=2000)
    assert len(asked) == len({tuple(index_S) for index_S in asked}) == 35, "four of four, their order left aside"
    rng = np.random.default_rng(0)
    means = [x_S[rng.integers(4, size=4)].mean() for _ in range(2000)]
    assert_allclose(found, np.percentile(means, [2.5, 97.5], method="nearest"))


def test_the_seed_decides() -> None:
    x_S = np.random.default_rng(3).normal(size=50)
    ends = [bootstrap(lambda index_S: x_S[index_S].mean(), 50, seed=seed, resamples=50) for seed in (5, 5, 6)]
    assert ends[0] == ends[1] != ends[2]


def test_a_wider_level_is_wider() -> None:
    x_S = np.random.default_rng(4).normal(size=50)
    ends = [bootstrap(lambda index_S: x_S[index_S].mean(), 50, level=level) for level in (0.5, 0.9, 0.99)]
    assert ends[2][0] < ends[1][0] < ends[0][0] < ends[0][1] < ends[1][1] < ends[2][1]


@pytest.mark.filterwarnings("error")
def test_statistics_that_are_not_numbers() -> None:
    drawn: list[float] = []
    x_S = np.random.default_rng(5).normal(size=9)

    def statistic(index_S: Array) -> list[float]:
        drawn.append(float(x_S[index_S].mean()))
        return [drawn[-1] if len(drawn) % 2 else np.nan, np.nan, np.inf, drawn[-1]]

    low, high = bootstrap(statistic, 9, level=0.8)
    said = np.array(drawn[::2])
    assert np.mean(said < low[0]) == pytest.approx(0.1, abs=0.02) and np.mean(said > high[0]) == pytest.approx(
        0.1, abs=0.02
    )
    assert np.isnan([low[1], high[1]]).all()
    assert_array_equal([low[2], high[2]], [np.inf, np.inf])
    assert np.isfinite([low[3], high[3]]).all()


@pytest.mark.parametrize("count", [-1, 0, 1])
def test_one_seed_has_no_interval(count: int) -> None:
    with pytest.raises(BadInput, match="at least 2"):
        bootstrap(lambda index_S: index_S.mean(), count)


@pytest.mark.parametrize(
    "options", [{"level": 0.0}, {"level": 1.0}, {"level": 95.0}, {"level": float("nan")}, {"resamples": 0}]
)
def test_levels_and_resamples_make_sense(options: dict[str, float]) -> None:
    with pytest.raises(BadInput, match="level between 0 and 1"):
        bootstrap(lambda index_S: index_S.mean(), 5, **options)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("error")
def test_about_an_infinite_median_there_are_no_distances() -> None:
    """The selectivity of a slider that is alone is infinite on whatever seeds."""
    assert np.isnan(bootstrap(lambda _: np.inf, 4, centred=True)).all()
    assert_array_equal(bootstrap(lambda _: np.inf, 4), [np.inf, np.inf])
