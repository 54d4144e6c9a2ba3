"""Trajectories are functions of their index: the same in any batch and shard, after any stop, and never another
run's."""

import copy
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sliderspace.core.errors import BadInput, DamagedFile, SliderSpaceError
from sliderspace.core.seeds import seed_for
from sliderspace.method import trajectories
from sliderspace.method.trajectories import SHARD, Trajectories, shard_size
from sliderspace.models.backbones import Backbone, Condition
from sliderspace.models.encoders import Encoder
from sliderspace.models.working_point import embedded_steps
from sliderspace.storage.files import load_tensors, save_tensors, stored_fingerprint

Sample = Callable[..., list[int]]


@pytest.fixture(scope="module")
def condition(backbone: Backbone) -> Condition:
    return backbone.encode(["a robot", "a person", "a face"])


@pytest.fixture(scope="module")
def sample(backbone: Backbone, encoder: Encoder, condition: Condition) -> Sample:
    def run(
        folder: Path,
        count: int,
        *,
        batch: int = 64,
        seed: int = 0,
        embed: Sequence[int] = (0, 1, 2),
        fingerprint: str = "f",
        model: Backbone = backbone,
    ) -> list[int]:
        folder.mkdir(exist_ok=True)
        draw = trajectories.from_prompts(model, encoder, condition, seed, embed)
        done: list[int] = []
        for shard in trajectories.shards(folder, count, SHARD, fingerprint):
            if not shard.is_done():
                done += [shard.first + n for n in trajectories.sample_shard(draw, shard, embed_T=embed, batch=batch)]
        return done

    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, sample: Sample) -> Path:
    made = tmp_path_factory.mktemp("trajectories")
    sample(made, SHARD + 5)
    return made


@pytest.fixture(scope="module")
def data(folder: Path) -> Trajectories:
    return stored(folder, SHARD + 5, "f")


def stored(folder: Path, count: int, fingerprint: str) -> Trajectories:
    return trajectories.load(trajectories.shards(folder, count, SHARD, fingerprint))


def all_x(data: Trajectories) -> Tensor:
    """xₜ float16 [N, T, C, H, W]."""
    count, steps = len(data), len(data.steps_T)
    n, t = torch.arange(count).repeat_interleave(steps), torch.arange(steps).repeat(count)
    return data.x(n, t).half().unflatten(0, (count, steps))


def shard_path(folder: Path, first: int, last: int | None = None) -> Path:
    """A whole shard, or the one cut short at `last`."""
    return folder / (
        f"{first:06d}.safetensors" if last in (None, first + SHARD) else f"{first:06d}-{last:06d}.safetensors"
    )


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a.float(), b.float(), rtol=0, atol=2e-3)  # latents are stored in half precision


# ---- what is stored


def test_every_part_has_its_shape_and_type(data: Trajectories, encoder: Encoder) -> None:
    count = SHARD + 5
    assert all_x(data).shape == (count, 3, 4, 8, 8)
    assert data.z_NTD.shape == (count, 3, encoder.dim) and data.z_NTD.dtype == torch.float32
    assert data.steps_T.tolist() == [0, 1, 2] and len(data) == count
    torch.testing.assert_close(data.z_NTD.norm(dim=-1), torch.ones(count, 3))


def test_prompts_take_turns(data: Trajectories) -> None:
    assert data.prompt_N.tolist() == [j % 3 for j in range(len(data))]


@pytest.mark.parametrize("j", [0, 4, SHARD, SHARD + 4])
def test_trajectory_j_is_a_function_of_j(
    data: Trajectories, backbone: Backbone, encoder: Encoder, condition: Condition, j: int
) -> None:
    """Drawn alone, by hand, from its own seed and prompt: latents and embeddings of every step."""
    x, rows = backbone.start([seed_for(0, "trajectory", j)]), condition.rows([j % 3])
    with torch.no_grad():
        for t in range(backbone.steps):
            close(all_x(data)[j, t], x[0])
            x0 = backbone.predict(x, torch.tensor([t]), rows)
            close(data.z_NTD[j, t], encoder(backbone.decode(x0))[0])
            x = backbone.step(x, x0, t, [0])


def test_the_stored_embedding_is_that_of_the_stored_latents(
    data: Trajectories, backbone: Backbone, encoder: Encoder, condition: Condition
) -> None:
    """To float32's rounding, though latents are stored in half precision: training compares the two."""
    n = torch.arange(6)
    for t in range(backbone.steps):
        with torch.no_grad():
            x0 = backbone.predict(
                data.x(n, torch.full_like(n, t)), torch.full_like(n, t), condition.rows([0, 1, 2, 0, 1, 2])
            )
            again = encoder(backbone.decode(x0))
        torch.testing.assert_close(data.z_NTD[:6, t], again, rtol=0, atol=1e-5)


def test_the_last_embedding_is_that_of_the_finished_image(
    data: Trajectories, backbone: Backbone, encoder: Encoder, condition: Condition
) -> None:
    from sliderspace.method.denoise import render

    images = next(
        iter(render(backbone, None, condition, [seed_for(0, "trajectory", j) for j in range(4)], [0, 1, 2, 0]))
    )
    close(data.z_NTD[:4, -1], encoder(images))


def test_trajectories_differ(data: Trajectories) -> None:
    gaps = torch.cdist(data.z_NTD[:, -1], data.z_NTD[:, -1]) + torch.eye(len(data))
    assert gaps.min() > 1e-3


@pytest.mark.parametrize("batch", [1, 7, 200])
def test_batch_size_changes_nothing_but_speed(tmp_path: Path, sample: Sample, data: Trajectories, batch: int) -> None:
    sample(tmp_path / "t", 20, batch=batch)
    again = stored(tmp_path / "t", 20, "f")
    close(all_x(again), all_x(data)[:20])
    close(again.z_NTD, data.z_NTD[:20])


def test_another_seed_is_another_sample(tmp_path: Path, sample: Sample, data: Trajectories) -> None:
    sample(tmp_path / "t", 4, seed=1)
    again = stored(tmp_path / "t", 4, "f")
    assert (all_x(again)[:, 0].float() - all_x(data)[:4, 0].float()).abs().max() > 0.1


def test_the_seen_and_the_unseen_part_share_nothing(data: Trajectories) -> None:
    seen, unseen = data.part(0, SHARD), data.part(SHARD, len(data))
    assert (len(seen), len(unseen)) == (SHARD, 5)
    assert torch.equal(all_x(unseen), all_x(data)[SHARD:])
    assert torch.cdist(seen.z_NTD[:, -1], unseen.z_NTD[:, -1]).min() > 1e-3


# ---- which steps


def test_steps_to_embed() -> None:
    assert embedded_steps("all", 4) == (0, 1, 2, 3)
    assert embedded_steps("final", 4) == (3,)
    assert embedded_steps([2, 0, 2], 4) == (0, 2, 3), "sorted, once, with the final one, which measures need"


@pytest.mark.parametrize("wrong", [[4], [-1], [0, 99]])
def test_steps_the_sampler_has_not(wrong: list[int]) -> None:
    with pytest.raises(BadInput, match="0 … 3"):
        embedded_steps(wrong, 4)


def test_listed_steps_are_the_same_columns(tmp_path: Path, sample: Sample, data: Trajectories) -> None:
    sample(tmp_path / "t", 6, embed=(1, 2))
    some = stored(tmp_path / "t", 6, "f")
    assert some.steps_T.tolist() == [1, 2]
    close(all_x(some), all_x(data)[:6, 1:])
    close(some.z_NTD, data.z_NTD[:6, 1:])


# ---- shards


@pytest.mark.parametrize(
    ("latent", "steps", "size"),
    [((16, 8, 8), 8, 128), ((4, 128, 128), 4, 128), ((4, 128, 128), 28, 16), ((16, 999, 999), 99, 1)],
)
def test_a_shard_of_large_latents_holds_fewer(latent: tuple[int, ...], steps: int, size: int) -> None:
    assert shard_size(latent, steps) == size
    assert size == 1 or size * steps * torch.Size(latent).numel() * 2 <= 64 * 2**20


def test_progress_counts_to_the_end(tmp_path: Path, sample: Sample) -> None:
    done = sample(tmp_path / "t", 10, batch=4)
    assert done == sorted(done) and done[-1] == 10


def test_whole_shards_are_kept_and_missing_ones_made_to_the_same_bytes(
    tmp_path: Path, sample: Sample, folder: Path
) -> None:
    first, second = (shard_path(folder, *n).read_bytes() for n in ((0, SHARD), (SHARD, SHARD + 5)))
    there = tmp_path / "t"
    there.mkdir()
    shard_path(there, 0).write_bytes(first)
    before = shard_path(there, 0).stat().st_mtime_ns
    sample(there, SHARD + 5)
    assert shard_path(there, 0).stat().st_mtime_ns == before
    assert shard_path(there, SHARD, SHARD + 5).read_bytes() == second


def test_runs_of_two_sizes_share_a_folder(tmp_path: Path, sample: Sample) -> None:
    """Each has its own last shard, so that neither takes the other's away."""
    for count in (SHARD + 5, SHARD + 9, SHARD + 5):
        sample(tmp_path, count)
        assert len(stored(tmp_path, count, "f")) == count
    small, large = (stored(tmp_path, SHARD + n, "f") for n in (5, 9))
    close(small.z_NTD, large.z_NTD[: SHARD + 5])


def test_shards_of_other_settings_are_made_anew(tmp_path: Path, sample: Sample) -> None:
    sample(tmp_path / "t", 4, seed=1, fingerprint="old")
    sample(tmp_path / "t", 4, seed=0, fingerprint="new")
    sample(tmp_path / "u", 4, seed=0, fingerprint="new")
    assert shard_path(tmp_path / "t", 0, 4).read_bytes() == shard_path(tmp_path / "u", 0, 4).read_bytes()


def test_loading_what_was_made_for_other_settings_is_refused(folder: Path) -> None:
    with pytest.raises(DamagedFile, match="sample"):
        stored(folder, SHARD + 5, "another")


@pytest.mark.parametrize("count", [SHARD, SHARD + 4, SHARD + 6, 2 * SHARD + 1])
def test_loading_another_count_is_refused(folder: Path, count: int) -> None:
    """Whole shards are a sample of fewer; a last one that was cut is none of more."""
    if count == SHARD:
        assert len(stored(folder, count, "f")) == SHARD
        return
    with pytest.raises(DamagedFile):
        stored(folder, count, "f")


@pytest.mark.parametrize("cut", [0, 10, -1])
def test_a_damaged_shard_is_told(tmp_path: Path, folder: Path, cut: int) -> None:
    there = shard_path(tmp_path, 0)
    there.write_bytes(shard_path(folder, 0).read_bytes()[:cut])
    with pytest.raises(DamagedFile, match=there.name):
        stored(tmp_path, SHARD, "f")


@pytest.mark.parametrize(
    "wrong",
    [
        lambda t: {n: v for n, v in t.items() if n != "x"},
        lambda t: {**t, "x": t["x"].flatten(1)},
        lambda t: {**t, "z": t["z"].double()},
        lambda t: {**t, "prompt": t["prompt"][:-1]},
        lambda t: {**t, "z": t["z"][..., :-1]},
        lambda t: {**t, "x": t["x"][..., :-1]},
    ],
    ids=["none", "flat", "type", "count", "width", "size"],
)
def test_a_shard_that_does_not_fit_is_told(
    tmp_path: Path, folder: Path, wrong: Callable[[dict[str, Tensor]], dict[str, Tensor]]
) -> None:
    """In itself, or beside the others."""
    copied = Path(shutil.copytree(folder, tmp_path / "t"))
    path = shard_path(copied, SHARD, SHARD + 5)
    tensors, _ = load_tensors(path, kind="trajectories")
    made_from = stored_fingerprint(path) or ""
    save_tensors(path, wrong(tensors), kind="trajectories", fingerprint=made_from)
    with pytest.raises(DamagedFile):
        stored(copied, SHARD + 5, "f")


def test_a_model_that_gives_no_numbers_is_told_and_nothing_is_stored(
    tmp_path: Path, sample: Sample, backbone: Backbone
) -> None:
    broken = copy.deepcopy(backbone)
    next(broken.denoiser.parameters()).data.fill_(torch.nan)
    with pytest.raises(SliderSpaceError, match="float32"):
        sample(tmp_path / "t", 4, model=broken)
    assert list((tmp_path / "t").glob("*.safetensors")) == []


# ---- from a person's own pictures


def test_own_pictures_are_noised_as_at_each_step(tmp_path: Path, backbone: Backbone, encoder: Encoder) -> None:
    """Trajectory j is picture j mod their number, in noise of its own; what is embedded is the model's guess of the
    clean picture."""
    from PIL import Image

    from sliderspace.concepts.pictures import read_folder

    for n, colour in enumerate(("red", "blue")):
        Image.new("RGB", (40, 40), colour).save(tmp_path / f"{n}.png")
    pictures, condition = read_folder(tmp_path, backbone.image_size), backbone.encode(["a robot"])
    x, z, prompts = trajectories.from_pictures(backbone, encoder, condition, pictures, 0, (0, 2))(range(3))
    assert x.shape == (3, 2, 4, 8, 8) and z.shape[:2] == (3, 2) and prompts == [0, 0, 0]
    clean = backbone.encode_images(pictures.images01(0, 1))
    for column, t in enumerate((0, 2)):
        expected = backbone.diffuse(clean, t, [seed_for(0, "trajectory", 2)])
        close(x[2:, column], expected)
        with torch.no_grad():
            preview = backbone.decode(backbone.predict(expected, torch.tensor([t]), condition.rows([0])))
            close(z[2:, column], encoder(preview))
    assert not torch.allclose(x[0], x[2]), "the same picture again is in other noise"
