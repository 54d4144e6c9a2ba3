"""Training does what its formula says: on the stored pairs, each slider by its own gradient, and better than a
control."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sliderspace.core.batches import BatchSize
from sliderspace.core.errors import BadInput, TrainingFailed
from sliderspace.core.settings import Targets, Up
from sliderspace.engine import stages
from sliderspace.method.directions import Directions
from sliderspace.method.objective import SMOOTH, Lanes, Objective, Recipe, draw
from sliderspace.method.sliders import SliderBank
from sliderspace.method.training import Update, _update, held_alignment, learning_rate, train
from sliderspace.method.trajectories import Trajectories

Make = Callable[..., Objective]
Learned = tuple[Objective, list[Update]]
K = 3


@pytest.fixture(scope="module")
def models(finished: Path, make_models: Any) -> Any:
    """For its models, directions and stored pairs; the stages are tested elsewhere."""
    return make_models(finished)


@pytest.fixture(scope="module")
def seen(models: Any) -> Trajectories:
    return models.seen


@pytest.fixture(scope="module")
def unseen(models: Any) -> Trajectories:
    return models.unseen


@pytest.fixture(scope="module")
def make(models: Any) -> Make:
    """An objective on a new bank; options go to the recipe, but for those of the bank and the directions."""

    def objective(
        *,
        directions: Directions | None = None,
        targets: Targets = "attention",
        up: Up = "trained",
        rank: int = 1,
        seed: int = 0,
        awake: float = 0.0,
        sliders: range = range(K),
        sides: list[tuple[float, float]] | None = None,
        **recipe: Any,
    ) -> Objective:
        bank = SliderBank(
            models.backbone.denoiser,
            len(sliders),
            first=sliders.start,
            rank=rank,
            pattern=models.backbone.layers[targets],
            up=up,
            seed=seed,
        )
        if awake:
            bank.ups.data.normal_(0, awake)
        chosen = Recipe(**{"updates": 60, "lr": 1e-2, **recipe})
        return Objective(
            models.backbone,
            models.encoder,
            models.condition,
            bank,
            directions or models.directions,
            chosen,
            np.array(sides) if sides else None,
        )

    return objective


def run(
    objective: Objective, seen: Trajectories, unseen: Trajectories, folder: Path, *, lanes: int = 16
) -> list[Update]:
    path = folder / "partial.safetensors"
    return list(train(objective, seen, unseen, seed=0, lanes=lanes, checkpoint=path, fingerprint="f"))


def lanes_of(count: int, strength: float, *, step: int | None = None) -> Lanes:
    """Lane b: slider b mod K on trajectory b."""
    b = torch.arange(count)
    return Lanes(b % K, b, b % 3 if step is None else torch.full((count,), step), torch.full((count,), float(strength)))


def values(objective: Objective) -> dict[str, Tensor]:
    return {name: t.clone() for name, t in objective.bank.tensors().items()}


# ---- one path for discovery and training


def test_a_stored_pair_embedded_again_has_not_moved(make: Make, seen: Trajectories) -> None:
    """Training reads xₜ and φ that sampling wrote. Were range, size or normalisation different in the two stages, Δφ
    would show it."""
    with torch.no_grad():
        delta = make(awake=0.3).delta(seen, lanes_of(60, 0.0))
    spread = (seen.z_NTD - seen.z_NTD.mean(0)).square().sum(-1).mean().sqrt()
    assert delta.norm(dim=1).max() < 0.05 * spread
    assert delta.norm(dim=1).mean() < 0.01 * spread


def test_a_pair_of_another_prompt_has_moved(make: Make, seen: Trajectories) -> None:
    """Or the test above would hold for an objective that shows the wrong prompt."""
    others = replace(seen, prompt_N=1 - seen.prompt_N)
    with torch.no_grad():
        right, wrong = (make().delta(d, lanes_of(60, 0.0)).norm(dim=1).mean() for d in (seen, others))
    assert wrong > 5 * right


def test_a_pair_of_another_step_has_moved(make: Make, seen: Trajectories) -> None:
    lanes = lanes_of(60, 0.0)
    moved = replace(seen, steps_T=(seen.steps_T + 1) % 3)
    with torch.no_grad():
        right, wrong = (make().delta(d, lanes).norm(dim=1).mean() for d in (seen, moved))
    assert wrong > 5 * right


# ---- the formula


def by_hand(delta_BD: Tensor, lanes: Lanes, directions: Directions, objective: Objective) -> np.ndarray[Any, Any]:
    """The loss of each lane in NumPy, from its definition."""
    delta, out = delta_BD.double().numpy(), []
    for d, k, s in zip(delta, lanes.slider_B.tolist(), lanes.strength_B.tolist(), strict=True):
        along = float(d @ directions.components_KD[k]) * math.copysign(1, s)
        loss = 1 - along / math.sqrt(float(d @ d) + SMOOTH**2)
        if objective.recipe.objective == "sized":
            target = abs(s) * directions.sigma_TK[-1, k] * objective.sides_K2[k, int(s > 0)]
            loss += objective.recipe.size_weight * (along / target - 1) ** 2
            elsewhere = sum(float(d @ v) ** 2 for j, v in enumerate(directions.components_KD) if j != k)
            loss += objective.recipe.hold * elsewhere / target**2
        out.append(loss)
    return np.array(out)


@pytest.mark.parametrize(("kind", "hold"), [("published", 0.0), ("sized", 0.0), ("sized", 0.05), ("sized", 2.0)])
@pytest.mark.parametrize("strength", [1.0, -1.0, 0.5, -2.0])
@pytest.mark.parametrize("sides", [None, [(0.5, 1.5), (1.0, 1.0), (1.2, 0.8)]])
def test_the_loss_is_its_definition(
    make: Make, models: Any, seen: Trajectories, kind: str, hold: float, strength: float, sides: Any
) -> None:
    """Every term that is on by default among them."""
    objective, lanes = make(awake=0.1, objective=kind, hold=hold, sides=sides), lanes_of(12, strength)
    with torch.no_grad():
        loss_B, cos_B = objective(seen, lanes)
        delta_BD = objective.delta(seen, lanes)
    np.testing.assert_allclose(
        loss_B.numpy(), by_hand(delta_BD, lanes, models.directions, objective), rtol=1e-3, atol=1e-4
    )
    assert ((cos_B >= -1) & (cos_B <= 1)).all()


def test_a_discovery_aims_as_far_to_each_side_as_its_own_images_lie(make: Make, models: Any) -> None:
    objective = stages.objective_of(models, range(K), make().bank)
    assert isinstance(objective, Objective)
    aimed = objective.size_K2.numpy() / models.directions.sigma_TK[-1, :K, None]
    np.testing.assert_allclose(aimed, models.directions.sides(models.seen.z_NTD[:, -1].numpy())[:K], rtol=1e-5)
    assert np.ptp(aimed, axis=1).max() > 0.1, "some of these sides differ"


def test_a_slider_that_does_nothing_has_a_finite_gradient(make: Make, seen: Trajectories) -> None:
    """Sliders begin as the base model, Δφ = 0, where a plain cosine has no gradient or an infinite one."""
    objective = make(objective="published")
    loss_B, cos_B = objective(seen, lanes_of(6, 1.0))
    loss_B.sum().backward()
    gradients = [p.grad for p in objective.bank.trained() if p.grad is not None]
    assert all(g.isfinite().all() for g in gradients) and any(g.abs().max() > 0 for g in gradients)
    assert cos_B.abs().max() < 0.1


# ---- draws


def test_every_slider_is_in_every_step_once() -> None:
    for index in range(5):
        lanes = draw(Recipe(updates=9, lr=1.0), range(7), 40, 3, 0, "lane", index)
        assert lanes.slider_B.tolist() == list(range(7))
        assert lanes.strength_B.all()


def test_a_draw_is_a_function_of_its_index() -> None:
    recipe = Recipe(updates=9, lr=1.0)
    one, same, other, purpose = (
        draw(recipe, range(16), 1000, 8, 5, p, i) for p, i in (("lane", 3), ("lane", 3), ("lane", 4), ("held-lane", 3))
    )
    assert torch.equal(one.trajectory_B, same.trajectory_B) and torch.equal(one.strength_B, same.strength_B)
    assert not torch.equal(one.trajectory_B, other.trajectory_B) and not torch.equal(
        one.trajectory_B, purpose.trajectory_B
    )


def test_a_lane_is_the_same_whatever_sliders_there_are_beside_it() -> None:
    recipe = Recipe(updates=9, lr=1.0)
    many, few = (draw(recipe, ks, 1000, 8, 5, "lane", 7) for ks in (range(16), range(3, 5)))
    for all_B, some_B in (
        (many.trajectory_B, few.trajectory_B),
        (many.step_B, few.step_B),
        (many.strength_B, few.strength_B),
    ):
        assert torch.equal(all_B[3:5], some_B)


def test_draws_reach_everything_and_only_what_was_asked() -> None:
    many = [
        draw(Recipe(updates=1, lr=1.0, objective="published", both_signs=False), range(16), 10, 4, 0, "lane", i)
        for i in range(60)
    ]
    assert set(torch.cat([m.trajectory_B for m in many]).tolist()) == set(range(10))
    assert set(torch.cat([m.step_B for m in many]).tolist()) == set(range(4))
    assert set(torch.cat([m.strength_B for m in many]).tolist()) == {1.0}, "as published: strength 1, one sign"
    both = draw(Recipe(updates=1, lr=1.0, both_signs=True), range(100), 10, 4, 0, "lane", 0).strength_B
    assert 20 < (both < 0).sum() < 80


@pytest.mark.parametrize(("until", "steps"), [(0.01, {0}), (0.3333333333333334, {0}), (0.5, {0, 1}), (1.0, {0, 1, 2})])
def test_only_the_noisier_steps_are_trained_on(
    make: Make, seen: Trajectories, unseen: Trajectories, tmp_path: Path, until: float, steps: set[int]
) -> None:
    shown: set[int] = set()

    class Watched(Objective):
        def descend(self, data: Trajectories, lanes: Lanes) -> tuple[Tensor, Tensor]:
            if data is seen:
                shown.update(lanes.step_B.tolist())
            return super().descend(data, lanes)

    objective = make(updates=8, until=until)
    objective.__class__ = Watched
    run(objective, seen, unseen, tmp_path)
    assert shown == steps


def test_the_learning_rate_rises_then_falls() -> None:
    recipe = Recipe(updates=200, lr=0.5)
    rates = [learning_rate(recipe, i) for i in range(200)]
    top = int(np.argmax(rates))
    assert 0 < rates[0] < rates[top] == pytest.approx(0.5, rel=0.01)
    assert top < 20 and rates[top:] == sorted(rates[top:], reverse=True) and 0 < rates[-1] < 0.05
    assert all(0 < learning_rate(Recipe(updates=1, lr=0.5), i) <= 0.5 for i in range(1))


# ---- gradients


def test_each_sliders_gradient_is_its_own(make: Make, seen: Trajectories) -> None:
    """Together or alone, the same gradient; and none at all from lanes of others."""
    objective, lanes = make(awake=0.1), lanes_of(K, 1.0)
    together = gradients(objective, seen, lanes)
    for k in range(K):
        alone = gradients(objective, seen, lanes.rows(slice(k, k + 1)))
        for name, gradient in alone.items():
            torch.testing.assert_close(gradient[k], together[name][k], rtol=1e-3, atol=1e-5)
            assert not gradient[[j for j in range(K) if j != k]].any()


def gradients(objective: Objective, data: Trajectories, lanes: Lanes) -> dict[str, Tensor]:
    objective.bank.zero_grad()
    objective(data, lanes)[0].sum().backward()
    return {name: p.grad.clone() for name, p in objective.bank.named_parameters() if p.grad is not None}


def test_the_gradient_is_the_finite_difference(make: Make, seen: Trajectories) -> None:
    objective, lanes = make(awake=0.1), lanes_of(6, 1.0)
    slope = gradients(objective, seen, lanes)
    # Along the gradient itself: in bfloat16 what a random bump changes is a few roundings.
    bump = {name: g * (20 / torch.cat([p.flatten() for p in slope.values()]).norm()) for name, g in slope.items()}
    expected = sum(float((slope[n] * bump[n]).sum()) for n in slope)
    found = []
    with torch.no_grad():
        for side in (1, -2):
            for name, p in objective.bank.named_parameters():
                p += side * 1e-3 * bump[name]
            found.append(float(objective(seen, lanes)[0].double().sum()))
    assert (found[0] - found[1]) / 2e-3 == pytest.approx(expected, rel=0.05, abs=1e-2)


def test_one_step_moves_every_slider(make: Make, seen: Trajectories) -> None:
    objective = make()
    before = values(objective)
    adam = torch.optim.Adam(objective.bank.trained(), lr=1e-2)
    _update(objective, seen, draw(objective.recipe, range(K), len(seen), 3, 0, "lane", 0), adam, 5, BatchSize(16))
    ups = [name for name in before if name.endswith(".up")]
    moved = torch.stack([(objective.bank.tensors()[n] - before[n]).flatten(1).abs().amax(1) for n in ups]).amax(0)
    assert (moved > 1e-4).all()


def test_sliders_do_not_depend_on_each_other(
    make: Make, models: Any, seen: Trajectories, unseen: Trajectories, tmp_path: Path
) -> None:
    """Give slider 2 another aim: it alone ends elsewhere. A slider that others move is one that drifts while idle."""
    d: Directions = models.directions
    turned = replace(d, components_KD=np.concatenate([d.components_KD[:2], -d.components_KD[2:]]))
    one, other = make(updates=12), make(updates=12, directions=turned)
    for name, objective in (("one", one), ("other", other)):
        (tmp_path / name).mkdir()
        run(objective, seen, unseen, tmp_path / name)
    for name, value in one.bank.tensors().items():
        torch.testing.assert_close(value[:2], other.bank.tensors()[name][:2], rtol=1e-4, atol=1e-4)
    assert any(
        (value[2] - other.bank.tensors()[name][2]).abs().max() > 1e-2 for name, value in one.bank.tensors().items()
    )


@pytest.mark.parametrize(("lanes", "tolerance"), [(1, 0.0), (16, 1e-4)])
def test_a_group_trained_alone_ends_as_it_does_among_all(
    make: Make, seen: Trajectories, unseen: Trajectories, tmp_path: Path, lanes: int, tolerance: float
) -> None:
    """To the bit with one lane at a time, to a rounding otherwise; and another slider is another."""
    every, one = make(updates=12), make(updates=12, sliders=range(1, 2))
    for name, objective in (("every", every), ("one", one)):
        (tmp_path / name).mkdir()
        run(objective, seen, unseen, tmp_path / name, lanes=lanes)
    for name, value in every.bank.tensors().items():
        torch.testing.assert_close(value[1:2], one.bank.tensors()[name], rtol=tolerance, atol=tolerance)
    assert any(
        (value[0] - one.bank.tensors()[name][0]).abs().max() > 1e-2 for name, value in every.bank.tensors().items()
    )


@pytest.mark.parametrize("lanes", [1, 2])
def test_micro_batches_change_nothing(
    make: Make, seen: Trajectories, unseen: Trajectories, tmp_path: Path, lanes: int
) -> None:
    whole, parts = make(updates=10), make(updates=10)
    (tmp_path / "w").mkdir()
    a, b = run(whole, seen, unseen, tmp_path / "w"), run(parts, seen, unseen, tmp_path, lanes=lanes)
    np.testing.assert_allclose([u.loss for u in a], [u.loss for u in b], rtol=1e-3)
    for name, value in whole.bank.tensors().items():
        torch.testing.assert_close(value, parts.bank.tensors()[name], rtol=1e-2, atol=1e-3)


def test_micro_batches_add_up_to_the_same_gradient(make: Make, seen: Trajectories) -> None:
    """Adam forgives a gradient of another size, so it is looked at here before Adam sees it."""
    found: list[list[Tensor]] = []
    for lanes in (16, 2, 1):
        objective = make()
        adam: Any = torch.optim.SGD(objective.bank.trained(), lr=0.0)
        drawn = draw(objective.recipe, range(K), len(seen), 3, 0, "lane", 0)
        _update(objective, seen, drawn, adam, 0, BatchSize(lanes))
        found.append([p.grad for p in objective.bank.trained() if p.grad is not None])
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_frozen_ups_stay_frozen(make: Make, seen: Trajectories, unseen: Trajectories, tmp_path: Path) -> None:
    objective = make(up="frozen", updates=5)
    before = values(objective)
    run(objective, seen, unseen, tmp_path)
    after = objective.bank.tensors()
    assert all(torch.equal(after[n], before[n]) for n in before if n.endswith(".up"))
    assert all(not torch.equal(after[n], before[n]) for n in before if n.endswith(".down"))
    lengths = torch.cat([after[n].norm(dim=1).flatten() for n in after if n.endswith(".up")])
    torch.testing.assert_close(lengths, torch.ones_like(lengths))


def test_nothing_but_the_bank_is_trained(make: Make, models: Any, seen: Trajectories) -> None:
    gradients(make(awake=0.1), seen, lanes_of(3, 1.0))
    models = (models.backbone.denoiser, models.backbone.vae, models.encoder)
    assert all(p.grad is None for model in models for p in model.parameters())


# ---- does it learn


@pytest.fixture(scope="module")
def learned(make: Make, seen: Trajectories, unseen: Trajectories, tmp_path_factory: pytest.TempPathFactory) -> Learned:
    objective = make(updates=60, check_every=20)
    return objective, run(objective, seen, unseen, tmp_path_factory.mktemp("learned"))


def test_training_raises_held_out_alignment(make: Make, unseen: Trajectories, learned: Learned) -> None:
    before, after = (np.mean(held_alignment(o, unseen, 0, BatchSize(16), rounds=8)) for o in (make(), learned[0]))
    assert abs(before) < 0.05
    assert after > 0.2


def _aimed(d: Directions, control: str) -> Directions:
    """Directions to train a control toward: orthonormal and of the same spread, but not those of the model's own
    variation."""
    rng = np.random.default_rng(5)
    random_KD = np.linalg.qr(rng.standard_normal((d.components_KD.shape[1], K)))[0].T
    return replace(d, components_KD=np.roll(d.components_KD, 1, axis=0) if control == "shuffled" else random_KD)


@pytest.mark.parametrize("control", ["shuffled", "random"])
def test_a_control_does_not_look_as_good(
    make: Make, models: Any, seen: Trajectories, unseen: Trajectories, tmp_path: Path, learned: Learned, control: str
) -> None:
    """Trained the same way toward other directions of equal size, and judged on the true ones."""
    trained = make(updates=60, directions=_aimed(models.directions, control))
    run(trained, seen, unseen, tmp_path)
    judged = make()
    judged.bank.load_tensors(values(trained))
    true, fooled = (np.mean(held_alignment(o, unseen, 0, BatchSize(16), rounds=8)) for o in (learned[0], judged))
    assert fooled < 0.5 * true


def test_the_record_says_what_happened(learned: Learned) -> None:
    updates = learned[1]
    assert [u.index for u in updates] == list(range(60))
    assert [u.index + 1 for u in updates if u.held_out_K is not None] == [20, 40, 60]
    assert np.mean([u.loss for u in updates[-20:]]) < np.mean([u.loss for u in updates[:20]])


def test_watching_does_not_train(learned: Learned, unseen: Trajectories) -> None:
    objective = learned[0]
    before = values(objective)
    one, two = (held_alignment(objective, unseen, 0, BatchSize(16)) for _ in range(2))
    assert one == two
    assert all(torch.equal(t, before[n]) for n, t in objective.bank.tensors().items())


# ---- stops


def test_stopped_and_started_again_it_ends_the_same_to_the_bit(
    make: Make, seen: Trajectories, unseen: Trajectories, tmp_path: Path
) -> None:
    whole = make(updates=30, check_every=8)
    (tmp_path / "whole").mkdir()
    expected = run(whole, seen, unseen, tmp_path / "whole")
    for stop in (3, 8, 21):  # before a checkpoint, at one, between two
        records = train(
            make(updates=30, check_every=8),
            seen,
            unseen,
            seed=0,
            lanes=16,
            checkpoint=tmp_path / "p.safetensors",
            fingerprint="f",
        )
        for _ in range(stop):
            next(records)
        records.close()
    again = make(updates=30, check_every=8, seed=99)  # whatever it starts from, the checkpoint counts
    updates = run_from(again, seen, unseen, tmp_path / "p.safetensors")
    assert all(torch.equal(t, again.bank.tensors()[n]) for n, t in whole.bank.tensors().items())
    assert [u for u in updates if u.held_out_K is not None] == [u for u in expected if u.held_out_K is not None]


def run_from(objective: Objective, seen: Trajectories, unseen: Trajectories, path: Path) -> list[Update]:
    assert path.exists()
    return list(train(objective, seen, unseen, seed=0, lanes=16, checkpoint=path, fingerprint="f"))


def test_a_checkpoint_of_other_settings_is_not_used(
    make: Make, seen: Trajectories, unseen: Trajectories, tmp_path: Path
) -> None:
    run(make(updates=8, check_every=4), seen, unseen, tmp_path)
    records = train(
        make(updates=8),
        seen,
        unseen,
        seed=0,
        lanes=16,
        checkpoint=tmp_path / "partial.safetensors",
        fingerprint="other",
    )
    assert next(records).index == 0


def test_a_loss_that_is_no_number_stops_and_keeps_the_checkpoint(
    make: Make, seen: Trajectories, unseen: Trajectories, tmp_path: Path
) -> None:
    run(make(updates=4, check_every=4), seen, unseen, tmp_path)
    kept = (tmp_path / "partial.safetensors").read_bytes()
    broken = replace(seen, z_NTD=torch.full_like(seen.z_NTD, torch.nan))
    with pytest.raises(TrainingFailed, match="--lr"):
        run(make(updates=20, check_every=4), broken, unseen, tmp_path)
    assert (tmp_path / "partial.safetensors").read_bytes() == kept


def test_a_wild_learning_rate_fails_the_same_way_again_and_again(
    make: Make, seen: Trajectories, unseen: Trajectories, tmp_path: Path
) -> None:
    """The checkpoint of a training that blew up must not break the next start."""
    for _ in range(2):
        with pytest.raises(TrainingFailed):
            run(make(updates=20, lr=1e30, check_every=1), seen, unseen, tmp_path)


def test_a_failed_training_leaves_the_last_good_state(
    make: Make, seen: Trajectories, unseen: Trajectories, tmp_path: Path
) -> None:
    with pytest.raises(TrainingFailed):
        run(make(updates=20, lr=1e30, check_every=1), seen, unseen, tmp_path)
    from sliderspace.storage.files import load_tensors

    path = tmp_path / "partial.safetensors"
    if path.exists():
        assert all(t.isfinite().all() for t in load_tensors(path, kind="training")[0].values())


# ---- compiled


def test_compiled_updates_are_the_plain_ones_of_two_programs(
    make: Make, seen: Trajectories, unseen: Trajectories, tmp_path: Path
) -> None:
    """Networks up to x̃₀, and what is seen in it: each compiled once and whole, for all updates and for both signs."""
    from torch._dynamo.testing import CompileCounter

    counter = CompileCounter()
    plain, compiled = (make(updates=6, seed=1) for _ in range(2))
    for name in ("plain", "compiled"):
        (tmp_path / name).mkdir()
    run(plain, seen, unseen, tmp_path / "plain")
    hooks = [len(layer._forward_hooks) for layer in compiled.bank.layers.values()]
    with compiled.compiled(counter):
        run(compiled, seen, unseen, tmp_path / "compiled")
    assert counter.frame_count == 2
    for name, value in values(plain).items():
        assert value.equal(values(compiled)[name])
    assert [len(layer._forward_hooks) for layer in compiled.bank.layers.values()] == hooks


def test_where_nothing_compiles_the_user_is_told(make: Make, seen: Trajectories) -> None:
    def broken(*_: object) -> None:
        raise OSError("no C++ compiler")

    objective = make()
    with objective.compiled(broken), pytest.raises(BadInput, match=r"(?s)torch\.compile.*Leave out --compile"):
        objective.descend(seen, lanes_of(K, 1.0))
