"""Composition success of planted sliders: those that add up, those that undo each other, and moves of no aim."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from support import spoiled

from sliderspace.core.arrays import Array, Ints
from sliderspace.core.errors import BadInput
from sliderspace.measure.protocols.composition import composition_of, moved, random_sets

K, S, R, D = 8, 40, 3, 16
V: Array = np.linalg.qr(np.random.default_rng(0).normal(size=(D, K)))[0].T


def drawn(active: int, noise: float, own: float = 1.0) -> tuple[Array, Ints]:
    """Each slider adds its own direction, beside noise."""
    rng = np.random.default_rng(1)
    chosen_NA = random_sets(rng, S * R, active, K)
    delta_ND = own * V[chosen_NA].sum(axis=1) + noise * rng.normal(size=(S * R, D))
    return delta_ND.reshape(S, R, D), chosen_NA.reshape(S, R, active)


@pytest.mark.parametrize("active", [2, 3])
def test_sliders_that_add_up_always_succeed(active: int) -> None:
    found = composition_of(*drawn(active, 0.01), V)
    assert found.mean.value == found.mean.low == found.mean.high == 1
    assert found.each == (1.0,) * K
    assert found.chance == pytest.approx(0.5**active, abs=0.15)  # directions of sliders that were off


@pytest.mark.parametrize("active", [2, 3])
def test_moves_of_no_aim_succeed_by_chance(active: int) -> None:
    values = [composition_of(*drawn(active, 1.0, own=0.0), V[np.random.default_rng(i).permutation(K)]) for i in (0, 1)]
    for found in values:
        assert found.mean.value == pytest.approx(0.5**active, abs=0.12)
        assert found.chance == pytest.approx(0.5**active, abs=0.12)


def test_one_that_undoes_the_others_spoils_its_mixes() -> None:
    delta_SRD, chosen_SRA = drawn(2, 0.0)
    with_first = (chosen_SRA == 0).any(axis=2)
    delta_SRD[with_first] -= 2 * V[chosen_SRA[with_first]].sum(axis=1)  # where slider 0 is on, both go backwards
    found = composition_of(delta_SRD, chosen_SRA, V)
    assert found.mean.value == pytest.approx(1 - with_first.mean())
    assert found.each[0] == 0 and all(each is not None and 0.5 < each < 1 for each in found.each[1:])


def test_moves_that_go_everywhere_show_in_chance() -> None:
    """A drift along all directions succeeds, and so it does along those that nobody turned on."""
    _, chosen_SRA = drawn(2, 0.0)
    found = composition_of(np.tile(V.sum(axis=0), (S, R, 1)), chosen_SRA, V)
    assert found.mean.value == 1 and found.chance == 1


def test_chance_by_definition_where_too_few_are_off() -> None:
    delta_SRD, chosen_SRA = drawn(3, 0.0)
    sliders = 5
    found = composition_of(delta_SRD, chosen_SRA % sliders, V[:sliders])
    assert found.chance == 1 / 8


def test_its_interval_is_over_seeds() -> None:
    """Mixes of one seed that all fail together are one failure and not three."""
    delta_SRD, chosen_SRA = drawn(2, 0.0)
    together, apart = delta_SRD.copy(), delta_SRD.copy()
    together[:10] *= -1
    apart.reshape(-1, D)[::4] *= -1
    wide, narrow = (composition_of(d, chosen_SRA, V).mean for d in (together, apart))
    assert wide.value == narrow.value == 0.75
    assert (wide.high or 0) - (wide.low or 0) > 1.3 * ((narrow.high or 0) - (narrow.low or 0))


def test_sets_are_of_different_sliders_and_all_come() -> None:
    sets = random_sets(np.random.default_rng(0), 500, 3, K)
    assert all(len(set(row)) == 3 for row in sets.tolist())
    counts = np.bincount(sets.ravel(), minlength=K)
    assert counts.min() > 130 and counts.max() < 250
    assert_array_equal(sets, random_sets(np.random.default_rng(0), 500, 3, K))
    with pytest.raises(BadInput, match="between 1 and 2"):
        random_sets(np.random.default_rng(0), 1, 3, 2)


@spoiled.each_way
def test_spoiled_changes_are_refused(spoil: Callable[[Array], Array]) -> None:
    delta_SRD, chosen_SRA = drawn(2, 0.1)
    with pytest.raises(BadInput):
        composition_of(spoil(delta_SRD), chosen_SRA, V)
    with pytest.raises(BadInput):
        moved(delta_SRD[0], chosen_SRA[1, :2], V)
