"""PCA by its theorems: each statement is checked on drawn data, beside a control that must fail."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from sliderspace.core.arrays import Array
from sliderspace.core.errors import BadInput, DamagedFile
from sliderspace.core.settings import Centring
from sliderspace.method.directions import ARRAYS, KIND, LEAST_SIDE, SCALARS, Directions
from sliderspace.method.moments import Moments
from sliderspace.storage.files import load_tensors, save_tensors

STEPS, DIM, PER_STEP = 3, 6, 20
SEEDS = st.integers(0, 2**32 - 1)
CENTRINGS: list[Centring] = ["all", "step"]
quick = settings(max_examples=25, deadline=None)


def drawn(seed: int) -> tuple[Array, np.ndarray]:
    """Embeddings [N, D] of STEPS steps with well separated variances along a random basis, and their steps,
    shuffled."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(DIM, DIM)))[0]
    parts = [
        centred(rng.normal(size=(PER_STEP, DIM))) * 2.0 ** -np.arange(DIM) @ basis + rng.normal(size=DIM)
        for _ in range(STEPS)
    ]
    order = rng.permutation(STEPS * PER_STEP)
    return np.concatenate(parts)[order], np.repeat(np.arange(STEPS), PER_STEP)[order]


def centred(x: Array) -> Array:
    """White: mean 0 and unit covariance exactly, so that the eigenvalues cannot meet by chance."""
    return np.linalg.qr(x - x.mean(axis=0))[0] * np.sqrt(len(x))


def moments(z: Array, step: np.ndarray) -> Moments:
    return Moments(STEPS, DIM).update(z, step)


def fitted(z: Array, step: np.ndarray, centring: Centring = "step", count: int = 4) -> Directions:
    return moments(z, step).fit(count, centring=centring, trajectories=PER_STEP, encoder="tiny")


def assert_same_space(a: Directions, b: Directions) -> None:
    assert_allclose(a.components_KD, b.components_KD, atol=1e-7)
    assert_allclose(a.explained_variance_K, b.explained_variance_K, rtol=1e-8)
    assert_allclose(a.sigma_TK, b.sigma_TK, rtol=1e-7)


# ---- the moments


@quick
@given(seed=SEEDS, cuts=st.lists(st.integers(0, STEPS * PER_STEP), max_size=5), backwards=st.booleans())
def test_merged_parts_equal_the_whole(seed: int, cuts: list[int], backwards: bool) -> None:
    z, step = drawn(seed)
    parts = [moments(*part) for part in zip(np.split(z, sorted(cuts)), np.split(step, sorted(cuts)), strict=True)]
    merged = Moments(STEPS, DIM)
    for part in parts[::-1] if backwards else parts:
        merged.merge(part)
    whole = moments(z, step)
    assert_array_equal(merged.count_T, whole.count_T)
    assert_allclose(merged.mean_TD, whole.mean_TD, atol=1e-12)
    assert_allclose(merged.scatter_TDD, whole.scatter_TDD, atol=1e-10)
    for centring in CENTRINGS:
        assert_same_space(merged.fit(4, centring=centring, trajectories=PER_STEP), fitted(z, step, centring))


@quick
@given(seed=SEEDS, batch=st.integers(1, 40))
def test_batch_size_changes_nothing(seed: int, batch: int) -> None:
    z, step = drawn(seed)
    streamed = Moments(STEPS, DIM)
    for first in range(0, len(z), batch):
        streamed.update(z[first : first + batch], step[first : first + batch])
    assert_allclose(streamed.scatter_TDD, moments(z, step).scatter_TDD, atol=1e-10)


def test_dropping_a_part_is_noticed() -> None:
    z, step = drawn(0)
    assert not np.allclose(moments(z[:-9], step[:-9]).scatter_TDD, moments(z, step).scatter_TDD, atol=1e-3)


def test_moments_are_numpys_own() -> None:
    z, step = drawn(1)
    for t in range(STEPS):
        assert_allclose(moments(z, step).mean_TD[t], z[step == t].mean(axis=0))
        assert_allclose(moments(z, step).scatter_TDD[t] / (PER_STEP - 1), np.cov(z[step == t].T), atol=1e-12)


def test_a_far_mean_costs_no_accuracy() -> None:
    z, step = drawn(2)
    far = Moments(STEPS, DIM)
    for row, t in zip(z + 1e4, step, strict=True):  # one at a time, where a running sum of squares loses most
        far.update(row[None], [t])
    assert_allclose(far.scatter_TDD, moments(z, step).scatter_TDD, atol=1e-8)
    float32 = (z + 1e4).astype(np.float32)
    naive = float32.T @ float32 - len(z) * np.outer(float32.mean(axis=0), float32.mean(axis=0))
    assert np.abs(naive - (len(z) - 1) * np.cov(z.T)).max() > 1  # the control: what float32 sums of squares would give


def test_merging_with_itself_counts_twice() -> None:
    once, z_step = moments(*drawn(3)), drawn(3)
    assert_allclose(once.merge(once).scatter_TDD, 2 * moments(*z_step).scatter_TDD, atol=1e-12)


def test_an_empty_batch_is_nothing() -> None:
    z, step = drawn(4)
    assert_array_equal(moments(z, step).update(np.empty((0, DIM)), []).scatter_TDD, moments(z, step).scatter_TDD)


# ---- the directions


@quick
@given(seed=SEEDS, centring=st.sampled_from(CENTRINGS), count=st.integers(1, DIM))
def test_directions_are_orthonormal_sorted_and_signed(seed: int, centring: Centring, count: int) -> None:
    found = fitted(*drawn(seed), centring, count)
    v = found.components_KD
    assert_allclose(v @ v.T, np.eye(count), atol=1e-12)
    assert (np.diff(found.explained_variance_K) <= 0).all()
    assert (np.take_along_axis(v, np.abs(v).argmax(axis=1)[:, None], axis=1) > 0).all()


@quick
@given(seed=SEEDS)
def test_all_variance_is_explained_by_all_directions(seed: int) -> None:
    z, step = drawn(seed)
    for centring in CENTRINGS:
        assert_allclose(fitted(z, step, centring, DIM).explained_variance_ratio_K.sum(), 1)
        assert fitted(z, step, centring, DIM - 1).explained_variance_ratio_K.sum() < 1
    assert_allclose(fitted(z, step, "all").total_variance, z.var(axis=0, ddof=1).sum())


def test_one_step_equals_scikit_learn_on_real_data() -> None:
    z = load_digits().data[:500]
    reference = PCA(10, svd_solver="full").fit(z)
    for centring in CENTRINGS:  # with a single step both centrings are the same thing
        ours = Moments(1, z.shape[1]).update(z, np.zeros(500, dtype=int)).fit(10, centring=centring, trajectories=500)
        assert_allclose(np.abs((ours.components_KD * reference.components_).sum(axis=1)), 1, atol=1e-10)
        assert_allclose(ours.explained_variance_K, reference.explained_variance_)
        assert_allclose(ours.explained_variance_ratio_K, reference.explained_variance_ratio_)
        assert_allclose(ours.mean_TD[0], reference.mean_)
        assert_allclose(np.abs(ours.project(z)), np.abs(reference.transform(z)), atol=1e-9)
        assert_allclose(ours.sigma_TK[0], np.sqrt(reference.explained_variance_))
        assert ours.step_share == 0


def test_pooled_centring_equals_scikit_learn_over_all_steps() -> None:
    z, step = drawn(5)
    reference, ours = PCA(4).fit(z), fitted(z, step, "all")
    assert_allclose(np.abs((ours.components_KD * reference.components_).sum(axis=1)), 1, atol=1e-10)
    assert_allclose(ours.explained_variance_K, reference.explained_variance_)


def test_step_centring_is_pca_of_what_each_step_leaves() -> None:
    z, step = drawn(6)
    left = z - np.stack([z[step == t].mean(axis=0) for t in range(STEPS)])[step]
    covariance = left.T @ left / (len(z) - STEPS)  # T means were fitted, so n - T degrees of freedom remain
    assert_allclose(fitted(z, step).explained_variance_K, np.linalg.eigvalsh(covariance)[::-1][:4])
    assert_allclose(fitted(z, step).total_variance, np.trace(covariance))


@quick
@given(seed=SEEDS)
def test_only_step_centring_is_blind_to_the_step(seed: int) -> None:
    z, step = drawn(seed)
    shifted = z + np.random.default_rng(seed + 1).normal(size=(STEPS, DIM))[step] * 5
    assert_same_space(fitted(shifted, step), fitted(z, step))
    pooled, pooled_shifted = fitted(z, step, "all"), fitted(shifted, step, "all")
    assert not np.allclose(pooled_shifted.explained_variance_K, pooled.explained_variance_K, rtol=1e-3)
    assert not np.allclose(pooled_shifted.components_KD, pooled.components_KD, atol=1e-3)


@pytest.mark.parametrize(("between", "within"), [(3.0, 4.0), (0.0, 1.0), (1.0, 7.0)])
def test_step_share_of_a_planted_example(between: float, within: float) -> None:
    z = np.array([[s * between, w * within, 0.0] for s in (-1, 1) for w in (-1, 1)])
    found = Moments(2, 3).update(z, [0, 0, 1, 1])
    for centring in CENTRINGS:
        share = found.fit(1, centring=centring, trajectories=2).step_share
        assert_allclose(share, between**2 / (between**2 + within**2))


def test_a_direction_may_be_spent_on_the_step() -> None:
    """About one mean, when steps differ more than images do; never within them."""
    z, step = drawn(7)
    z = z + 50 * np.eye(DIM)[0] * step[:, None]
    pooled, within = fitted(z, step, "all"), fitted(z, step)
    assert pooled.step_share_K[0] > 0.9
    assert np.abs(pooled.components_KD[0, 0]) > 0.99 > np.abs(within.components_KD[0, 0])
    for k, v in enumerate(pooled.components_KD):
        along = z @ v
        means = np.array([along[step == t].mean() for t in range(STEPS)])
        assert pooled.step_share_K[k] == pytest.approx(means.var() / along.var(), rel=0.1)  # sigma is n − 1, this is n


def test_sigma_is_the_spread_of_the_projections_in_each_step() -> None:
    z, step = drawn(7)
    z = z * np.array([1.0, 2.0, 0.5])[step][:, None]
    found = fitted(z, step)
    for t in range(STEPS):
        assert_allclose(found.sigma_TK[t], found.project(z, step)[step == t].std(axis=0, ddof=1))
        assert_allclose(found.project(z, step)[step == t].mean(axis=0), 0, atol=1e-12)
    assert_allclose(found.project(z).mean(axis=0), 0, atol=1e-12)
    assert np.abs(found.project(z)[step == 0].mean(axis=0)).max() > 0.1  # without steps the step's own mean stays


@quick
@given(seed=SEEDS, centring=st.sampled_from(CENTRINGS), scale=st.floats(1e-3, 1e3), offset=st.floats(-10, 10))
def test_scaling_and_shifting_move_no_direction(seed: int, centring: Centring, scale: float, offset: float) -> None:
    z, step = drawn(seed)
    found, moved = fitted(z, step, centring), fitted(z * scale + offset * scale, step, centring)
    assert_allclose(moved.components_KD, found.components_KD, atol=1e-7)
    assert_allclose(moved.sigma_TK, found.sigma_TK * scale, rtol=1e-7)
    assert_allclose(moved.total_variance, found.total_variance * scale**2)
    assert_allclose(moved.step_share, found.step_share)


@quick
@given(seed=SEEDS, centring=st.sampled_from(CENTRINGS))
def test_rotating_the_embeddings_rotates_the_directions(seed: int, centring: Centring) -> None:
    z, step = drawn(seed)
    rotation = np.linalg.qr(np.random.default_rng(seed + 1).normal(size=(DIM, DIM)))[0]
    found, turned = fitted(z, step, centring), fitted(z @ rotation, step, centring)
    assert_allclose(np.abs((turned.components_KD * (found.components_KD @ rotation)).sum(axis=1)), 1, atol=1e-10)
    assert_allclose(turned.explained_variance_K, found.explained_variance_K)


def test_what_fit_was_told_is_kept() -> None:
    z, step = drawn(8)
    found = moments(z, step).fit(2, trajectories=PER_STEP, encoder="clip", step_indices=[0, 4, 9])
    assert (found.count, found.trajectories, found.step_indices) == (60, 20, (0, 4, 9))
    assert (found.centring, found.encoder) == ("step", "clip")
    described = found.describe()
    assert described["directions"] == 2 and described["dim"] == DIM and described["step_indices"] == [0, 4, 9]
    assert described["explained"] == pytest.approx(sum(described["explained_variance_ratio"]))


# ---- what cannot be used


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_change_nothing(bad: float) -> None:
    z, step = drawn(9)
    held = moments(z, step)
    with pytest.raises(BadInput, match="not finite"):
        held.update(np.where(np.arange(len(z))[:, None] == 7, bad, z), step)
    assert_array_equal(held.scatter_TDD, moments(z, step).scatter_TDD)


@pytest.mark.parametrize(
    ("z", "step"),
    [
        (np.ones((2, DIM + 1)), [0, 1]),
        (np.ones(DIM), [0]),
        (np.ones((2, DIM)), [0]),
        (np.ones((2, DIM)), [0, STEPS]),
        (np.ones((2, DIM)), [-1, 0]),
        (np.ones((2, DIM)), [0.0, 1.0]),
    ],
)
def test_shapes_and_steps_are_checked(z: Array, step: list[int]) -> None:
    with pytest.raises(BadInput):
        Moments(STEPS, DIM).update(z, step)


def test_moments_of_another_shape_do_not_merge() -> None:
    with pytest.raises(BadInput, match="cannot join"):
        Moments(STEPS, DIM).merge(Moments(STEPS + 1, DIM))
    with pytest.raises(BadInput):
        Moments(0, DIM)


@pytest.mark.parametrize(
    ("count", "trajectories", "message"),
    [
        (DIM + 1, 1000, "allows 1 to 6"),
        (0, 1000, "allows 1 to 6"),
        (4, 4, "at least 5 trajectories"),
        (4, 0, "at least 5 trajectories"),
    ],
)
def test_more_directions_than_the_samples_carry(count: int, trajectories: int, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        moments(*drawn(10)).fit(count, trajectories=trajectories)


def test_a_step_without_embeddings() -> None:
    z, step = drawn(11)
    with pytest.raises(BadInput, match="Step 9 has fewer than 2"):
        moments(z[step < 2], step[step < 2]).fit(2, trajectories=PER_STEP, step_indices=(1, 5, 9))
    with pytest.raises(BadInput, match="fewer than 2"):
        Moments(STEPS, DIM).fit(2, trajectories=PER_STEP)


def test_wrong_options() -> None:
    with pytest.raises(BadInput, match="Centring"):
        moments(*drawn(12)).fit(2, centring="none", trajectories=PER_STEP)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="step indices"):
        moments(*drawn(12)).fit(2, trajectories=PER_STEP, step_indices=[1])


@pytest.mark.parametrize("vector", [np.zeros(DIM), np.linspace(0.1, 0.7, DIM), np.full(DIM, 1e3)])
def test_embeddings_that_are_all_alike(vector: Array) -> None:
    alike = moments(np.tile(vector, (60, 1)), np.arange(60) % STEPS)
    for centring in CENTRINGS:
        with pytest.raises(BadInput, match="alike"):
            alike.fit(1, centring=centring, trajectories=PER_STEP)


def test_variance_that_is_only_rounding_is_none() -> None:
    rng = np.random.default_rng(0)
    z = np.linspace(0.1, 0.7, DIM) * (1 + 1e-7 * rng.normal(size=(60, DIM)))  # as float32 of the same image twice
    with pytest.raises(BadInput, match="alike"):
        moments(z, np.arange(60) % STEPS).fit(1, trajectories=PER_STEP)


def test_variance_in_fewer_directions_than_asked() -> None:
    flat = np.random.default_rng(0).normal(size=(60, 2)) @ np.random.default_rng(1).normal(size=(2, DIM))
    assert len(fitted(flat, np.arange(60) % STEPS, count=2).components_KD) == 2
    with pytest.raises(BadInput, match="only 2 independent directions"):
        fitted(flat, np.arange(60) % STEPS, count=3)


def test_only_the_step_varies() -> None:
    step = np.arange(60) % STEPS
    z = np.eye(DIM)[step]
    assert fitted(z, step, "all", 2).step_share == pytest.approx(1)
    with pytest.raises(BadInput, match="alike"):
        fitted(z, step, "step", 2)


def test_projecting_another_encoders_embeddings() -> None:
    found = fitted(*drawn(13))
    with pytest.raises(BadInput, match="another encoder than 'tiny'"):
        found.project(np.ones((2, DIM + 1)))
    for step in ([0], [0, STEPS], [-1, 0]):
        with pytest.raises(BadInput, match="2 steps"):
            found.project(np.ones((2, DIM)), step)


# ---- the file


def test_what_is_saved_loads_bit_for_bit(tmp_path: Path) -> None:
    found, path = fitted(*drawn(14)), tmp_path / "directions.safetensors"
    found.save(path, "abc")
    loaded = Directions.load(path)
    for name in ARRAYS:
        assert_array_equal(getattr(loaded, name), getattr(found, name))
    assert loaded.describe() == found.describe() and loaded.step_indices == found.step_indices


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_truncated_file(tmp_path: Path, share: float) -> None:
    path = tmp_path / "directions.safetensors"
    fitted(*drawn(15)).save(path, "abc")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(DamagedFile):
        Directions.load(path)


@pytest.mark.parametrize("name", [*ARRAYS, *SCALARS])
def test_a_file_without_one_of_its_parts(tmp_path: Path, name: str) -> None:
    path = tmp_path / "directions.safetensors"
    fitted(*drawn(16)).save(path, "abc")
    tensors, meta = load_tensors(path, kind=KIND)
    kept = {key: value for key, value in tensors.items() if key != name}
    save_tensors(path, kept, kind=KIND, fingerprint="abc", **{key: value for key, value in meta.items() if key != name})
    with pytest.raises(DamagedFile, match=name):
        Directions.load(path)


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("spoil", [lambda x: x[:, None], lambda x: x[:0], lambda x: x * np.nan])
def test_a_file_whose_parts_do_not_fit(tmp_path: Path, name: str, spoil: object) -> None:
    path = tmp_path / "directions.safetensors"
    fitted(*drawn(17)).save(path, "abc")
    tensors, meta = load_tensors(path, kind=KIND)
    tensors[name] = spoil(tensors[name])  # type: ignore[operator]
    save_tensors(path, tensors, kind=KIND, fingerprint="abc", **meta)
    with pytest.raises(DamagedFile):
        Directions.load(path)


def test_rows_that_are_not_directions(tmp_path: Path) -> None:
    path = tmp_path / "directions.safetensors"
    fitted(*drawn(18)).save(path, "abc")
    tensors, meta = load_tensors(path, kind=KIND)
    save_tensors(path, {**tensors, "components_KD": tensors["components_KD"] * 2}, kind=KIND, fingerprint="abc", **meta)
    with pytest.raises(DamagedFile, match="do not fit"):
        Directions.load(path)


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    path = tmp_path / "directions.safetensors"
    save_tensors(path, {"components_KD": np.eye(2)}, kind="sliders", fingerprint="abc")
    with pytest.raises(DamagedFile):
        Directions.load(path)


# ---- rotation


def rare_things(count: int, seed: int = 0) -> tuple[Array, Array]:
    """Embeddings [N, 12] of five independent things, each in a tenth of the pictures, along axes [5, 12] of its own; a
    little noise."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.normal(size=(12, 5)))[0].T
    return (rng.random((count, 5)) < 0.1) @ axes + 0.02 * rng.normal(size=(count, 12)), axes


def test_varimax_finds_things_that_are_there_or_not_where_pca_mixes_them() -> None:
    z, axes = rare_things(3000)
    step = np.arange(3000) % 3
    found = Moments(3, 12).update(z, step).fit(5, trajectories=1000)
    turned = found.rotated(z, step)
    mixed, clean = (np.abs(d.components_KD @ axes.T).max(axis=1) for d in (found, turned))
    assert clean.min() > 0.99 and mixed.min() < 0.9
    assert (np.sort((turned.components_KD @ axes.T).max(axis=1)) > 0.99).all(), "the rarer side is positive"


def test_rotation_keeps_the_subspace_and_its_variance() -> None:
    z, _ = rare_things(600, seed=3)
    step = np.arange(600) % 2
    found = Moments(2, 12).update(z, step).fit(4, trajectories=300)
    turned = found.rotated(z, step)
    assert_allclose(turned.components_KD @ turned.components_KD.T, np.eye(4), atol=1e-10)
    assert_allclose(
        turned.components_KD.T @ turned.components_KD, found.components_KD.T @ found.components_KD, atol=1e-10
    )
    assert_allclose(turned.explained_variance_K.sum(), found.explained_variance_K.sum())
    assert (np.diff(turned.explained_variance_K) <= 1e-12).all()
    per_step = [((z[step == t] - z[step == t].mean(0)) @ turned.components_KD.T).std(axis=0, ddof=1) for t in range(2)]
    assert_allclose(turned.sigma_TK, per_step)
    within = np.concatenate([z[step == t] - z[step == t].mean(0) for t in range(2)]) @ turned.components_KD.T
    assert_allclose(turned.explained_variance_K, (within**2).sum(0) / (600 - 2))


def test_sides_say_how_far_images_lie_each_way() -> None:
    """Along the first direction one of ten images lies at 3 and two at −1, the others at 0; evenly along the second;
    along the third one image of a thousand lies below."""
    even = np.random.default_rng(0).normal(size=500)
    sparse = np.repeat([3.0, -1.0, 0.0], [100, 200, 700])
    rare = np.repeat([3.0, -1.0, 0.0], [100, 1, 899])
    z = np.zeros((1000, DIM))
    z[:, :3] = np.stack([sparse, np.concatenate([even, -even]), rare], axis=1)
    found = replace(fitted(*drawn(0)), components_KD=np.eye(DIM)[:4])
    both = np.sqrt([0.2, 0.9])
    due = [both / both.mean(), [1, 1], [LEAST_SIDE, 2 - LEAST_SIDE], [1, 1]]
    assert_allclose(found.sides(z + 7), due, atol=1e-9)


def test_independent_axes_are_found_among_finished_images_where_varimax_mixes_them() -> None:
    """Things that are there in half of the images are spread as evenly as can be; they vary by themselves all the
    same."""
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(12, 5)))[0].T
    things = rng.random((1500, 5)) < 0.5
    finished = things @ axes + 0.02 * rng.normal(size=(1500, 12))
    z = np.stack([finished @ np.diag(np.linspace(0.2, 1, 12)), finished], axis=1).reshape(-1, 12)
    step = np.tile([0, 1], 1500)
    found = Moments(2, 12).update(z, step).fit(5, trajectories=1500)
    clean, mixed = (
        np.abs(d.components_KD @ axes.T).max(axis=1).min() for d in (found.independent(z, step), found.rotated(z, step))
    )
    assert clean > 0.95 > mixed
    turned = found.independent(z, step)
    assert_allclose(turned.components_KD @ turned.components_KD.T, np.eye(5), atol=1e-10)
    assert (np.diff(turned.explained_variance_K) <= 1e-12).all()


# ---- axes that no decomposition found


def test_other_axes_carry_the_spread_along_them() -> None:
    """Against NumPy, one column at a time; strongest first, orthonormal, and what is saved loads."""
    rng = np.random.default_rng(0)
    z, step = rng.standard_normal((300, 6)) * np.arange(1, 7), np.arange(300) % 3
    found = Moments(3, 6).update(z, step).fit(3, trajectories=100)
    axes = rng.standard_normal((3, 6))
    other = found.along(axes, z, step)
    assert_allclose(other.components_KD @ other.components_KD.T, np.eye(3), atol=1e-12)
    within = np.concatenate([z[step == t] - z[step == t].mean(0) for t in range(3)])
    assert_allclose(other.explained_variance_K, ((within @ other.components_KD.T) ** 2).sum(0) / (300 - 3))
    assert (np.diff(other.explained_variance_K) <= 0).all()
    assert_allclose(other.sigma_TK[1], (z[step == 1] @ other.components_KD.T).std(0, ddof=1))
    assert any(np.allclose(np.abs(row @ axes[0]) / np.linalg.norm(axes[0]), 1) for row in other.components_KD)


def test_along_its_own_axes_nothing_changes() -> None:
    rng = np.random.default_rng(1)
    z, step = rng.standard_normal((200, 5)) * np.arange(1, 6), np.arange(200) % 2
    for centring in ("step", "all"):
        found = Moments(2, 5).update(z, step).fit(3, trajectories=100, centring=centring)
        again = found.along(found.components_KD, z, step)
        assert_allclose(again.components_KD, found.components_KD, atol=1e-9)
        assert_allclose(again.explained_variance_K, found.explained_variance_K)
        assert_allclose(again.sigma_TK, found.sigma_TK)


def test_axes_asked_for_in_words_stay_as_they_were_asked_for(tmp_path: Path) -> None:
    """At unit length, in their order, as oblique as they are; and they are stored and loaded so."""
    rng = np.random.default_rng(3)
    z, step = rng.standard_normal((300, 4)) * np.arange(1, 5), np.arange(300) % 3
    axes = np.array([[2.0, 0, 0, 0], [1.0, 0, 0, 1.0], [-1.0, 0, 0, -1.0]])
    found = Moments(3, 4).update(z, step).fit(1, trajectories=100).toward(axes, z, step)
    assert_allclose(found.components_KD, axes / np.linalg.norm(axes, axis=1, keepdims=True))
    assert found.explained_variance_K[0] < found.explained_variance_K[1], "not sorted"
    assert_allclose(found.sigma_TK[:, 1], found.sigma_TK[:, 2])
    assert_allclose(found.sigma_TK[2, 0], z[step == 2, 0].std(ddof=1))
    found.save(tmp_path / "d.safetensors", "f")
    assert_allclose(Directions.load(tmp_path / "d.safetensors").components_KD, found.components_KD)


def test_axes_that_depend_on_each_other_are_refused() -> None:
    rng = np.random.default_rng(2)
    z, step = rng.standard_normal((100, 4)), np.zeros(100, int)
    found = Moments(1, 4).update(z, step).fit(2, trajectories=100)
    with pytest.raises(BadInput, match="not independent"):
        found.along(np.ones((2, 4)), z, step)
