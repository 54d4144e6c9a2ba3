"""Trajectories are functions of their index: the same in any batch and shard, after any stop, and never another
run's."""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sliderspace.core.errors import BadInput, DamagedFile, SliderSpaceError
from sliderspace.core.seeds import seed_for
from sliderspace.method import trajectories
from sliderspace.method.trajectories import SHARD, Trajectories, shard_path
from sliderspace.models.backbones import Backbone, Condition
from sliderspace.models.encoders import Encoder
from sliderspace.models.working_point import embedded_steps

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
        return list(trajectories.sample(draw, folder, count=count, embed_T=embed, batch=batch, fingerprint=fingerprint))

    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, sample: Sample) -> Path:
    made = tmp_path_factory.mktemp("trajectories")
    sample(made, SHARD + 5)
    return made


@pytest.fixture(scope="module")
def data(folder: Path) -> Trajectories:
    return trajectories.load(folder, SHARD + 5, "f")


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a.float(), b.float(), rtol=0, atol=2e-3)  # latents are stored in half precision


# ---- what is stored


def test_every_part_has_its_shape_and_type(data: Trajectories, encoder: Encoder) -> None:
    count = SHARD + 5
    assert data.x_NTCHW.shape == (count, 3, 4, 8, 8) and data.x_NTCHW.dtype == torch.float16
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
            close(data.x_NTCHW[j, t], x[0])
            x0 = backbone.predict(x, torch.tensor([t]), rows)
            close(data.z_NTD[j, t], encoder(backbone.decode(x0))[0])
            x = backbone.step(x, x0, t, [0])


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
    again = trajectories.load(tmp_path / "t", 20, "f")
    close(again.x_NTCHW, data.x_NTCHW[:20])
    close(again.z_NTD, data.z_NTD[:20])


def test_another_seed_is_another_sample(tmp_path: Path, sample: Sample, data: Trajectories) -> None:
    sample(tmp_path / "t", 4, seed=1)
    again = trajectories.load(tmp_path / "t", 4, "f")
    assert (again.x_NTCHW[:, 0].float() - data.x_NTCHW[:4, 0].float()).abs().max() > 0.1


def test_the_seen_and_the_unseen_part_share_nothing(data: Trajectories) -> None:
    seen, unseen = data.part(0, SHARD), data.part(SHARD, len(data))
    assert (len(seen), len(unseen)) == (SHARD, 5)
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
    some = trajectories.load(tmp_path / "t", 6, "f")
    assert some.steps_T.tolist() == [1, 2]
    close(some.x_NTCHW, data.x_NTCHW[:6, 1:])
    close(some.z_NTD, data.z_NTD[:6, 1:])


# ---- shards


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
        assert len(trajectories.load(tmp_path, count, "f")) == count
    small, large = (trajectories.load(tmp_path, SHARD + n, "f") for n in (5, 9))
    close(small.z_NTD, large.z_NTD[: SHARD + 5])


def test_shards_of_other_settings_are_made_anew(tmp_path: Path, sample: Sample) -> None:
    sample(tmp_path / "t", 4, seed=1, fingerprint="old")
    sample(tmp_path / "t", 4, seed=0, fingerprint="new")
    sample(tmp_path / "u", 4, seed=0, fingerprint="new")
    assert shard_path(tmp_path / "t", 0, 4).read_bytes() == shard_path(tmp_path / "u", 0, 4).read_bytes()


def test_loading_what_was_made_for_other_settings_is_refused(folder: Path) -> None:
    with pytest.raises(DamagedFile, match="sample"):
        trajectories.load(folder, SHARD + 5, "another")


@pytest.mark.parametrize("count", [SHARD, SHARD + 4, SHARD + 6, 2 * SHARD + 1])
def test_loading_another_count_is_refused(folder: Path, count: int) -> None:
    """Whole shards are a sample of fewer; a last one that was cut is none of more."""
    if count == SHARD:
        assert len(trajectories.load(folder, count, "f")) == SHARD
        return
    with pytest.raises(DamagedFile):
        trajectories.load(folder, count, "f")


@pytest.mark.parametrize("cut", [0, 10, -1])
def test_a_damaged_shard_is_told(tmp_path: Path, folder: Path, cut: int) -> None:
    there = shard_path(tmp_path, 0)
    there.write_bytes(shard_path(folder, 0).read_bytes()[:cut])
    with pytest.raises(DamagedFile, match=there.name):
        trajectories.load(tmp_path, SHARD, "f")


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
