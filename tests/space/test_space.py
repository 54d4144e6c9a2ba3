"""A finished space: strengths in natural units, images by seed, and plain errors for what it has not."""

import os
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from support.spaces import change_settings

import sliderspace
from sliderspace.core.errors import BadInput
from sliderspace.core.settings import Speed
from sliderspace.method.denoise import render
from sliderspace.share.export import export
from sliderspace.space import space as drawing
from sliderspace.space.space import SliderSpace
from sliderspace.storage.images import to_uint8


@pytest.fixture(scope="module")
def space(finished: Path) -> SliderSpace:
    return SliderSpace.load(finished, Speed(device="cpu"))


def close(a: Any, b: Any) -> None:
    """Equal pictures, up to a rounding of the last level."""
    assert a.shape == b.shape and a.dtype == b.dtype == np.uint8
    assert np.abs(a.astype(int) - b.astype(int)).max() <= 1


def test_a_space_says_what_it_is(space: SliderSpace, small: dict[str, Any]) -> None:
    told = space.describe()
    assert (
        len(space) == 3 == len(told["sliders"])
        and told["prompts"] == list(small["prompts"])
        and told["trajectories"] == 130
    )
    assert [s["index"] for s in told["sliders"]] == [0, 1, 2]


def test_no_strengths_is_the_base_model_to_the_bit(space: SliderSpace) -> None:
    images = [space.generate([3, 4], s) for s in (None, {}, {1: 0.0}, [0, 0, 0], np.zeros((2, 3)))]
    assert images[0].shape == (2, 32, 32, 3) and images[0].dtype == np.uint8
    assert all(np.array_equal(images[0], i) for i in images[1:])


def test_a_small_decoder_of_another_machine_is_not_missed(space: SliderSpace, finished: Path, tmp_path: Path) -> None:
    """As it is called once the space was exported or pushed: nobody can say where it lies here."""
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    change_settings(folder, decoder="local:taesd@0123abc")
    pulled = SliderSpace.load(folder, Speed(device="cpu"))
    assert np.array_equal(pulled.generate([3], {1: 1.0}), space.generate([3], {1: 1.0}))


def test_strengths_count_in_natural_units(space: SliderSpace) -> None:
    """{1: 2.0} is twice the unit of slider 1 in raw strength."""
    raw = torch.zeros(2, 3)
    raw[:, 1] = 2.0 * float(space.units_K[1])
    by_hand = to_uint8(
        torch.cat(list(render(space.backbone, space.bank, space.condition(None), [4, 6], [0, 0], raw)))
    ).numpy()
    close(space.generate([4, 6], {1: 2.0}), by_hand)
    assert np.abs(by_hand.astype(int) - space.generate([4, 6])).max() > 5


def test_a_matrix_gives_each_seed_its_own_row(space: SliderSpace) -> None:
    rows = np.array([[1.0, 0, 0], [0, -2.0, 0.5]])
    together = space.generate([5, 6], rows)
    for i, seed in enumerate((5, 6)):
        close(together[i : i + 1], space.generate([seed], rows[i]))


def test_seed_17_is_the_same_image_wherever_it_stands(space: SliderSpace) -> None:
    alone = space.generate([17], {0: 1.0})
    for seeds in ([17, 1, 2], [9, 17], list(range(18))):
        close(space.generate(seeds, {0: 1.0})[seeds.index(17)][None], alone)


def test_seeds_may_be_of_any_integer_type(space: SliderSpace) -> None:
    plain = space.generate([1, 2], {0: 1.0})
    for seeds in (np.arange(1, 3), torch.arange(1, 3), range(1, 3), (np.int64(n) for n in (1, 2))):
        np.testing.assert_array_equal(space.generate(seeds, {0: 1.0}), plain)
    np.testing.assert_array_equal(space.sweep(0, np.arange(2), [1]), space.sweep(0, range(2), [1]))
    np.testing.assert_array_equal(space.mix(np.arange(2), active=2), space.mix(range(2), active=2))


def test_threads_that_share_a_space_draw_what_each_asks_for(finished: Path) -> None:
    """And two spaces that share a model: what is turned is kept on the model's layers."""
    one, other = (SliderSpace.load(finished, Speed(device="cpu")) for _ in range(2))
    spaces = [one, other.beside(one)]
    asked = [{0: 3.0}, {}, {1: -3.0}, {2: 3.0}] * 2
    expected = [one.generate([1, 2], strengths) for strengths in asked]
    with ThreadPoolExecutor(4) as threads:
        drawn = threads.map(lambda n: spaces[n % 2].generate([1, 2], asked[n]), range(len(asked)))
    for found, wanted in zip(drawn, expected, strict=True):
        close(found, wanted)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_process_that_forks_while_a_thread_draws_has_a_child_that_draws(finished: Path) -> None:
    """It begins between two pictures: neither the lock nor the model is in the middle of one."""
    space = SliderSpace.load(finished, Speed(device="cpu"))
    wanted = space.generate([1], {0: 3.0})
    with ThreadPoolExecutor(1) as threads:
        others = threads.submit(space.generate, range(64), {1: -3.0})
        while not others.done() and drawing.DRAWING.acquire(blocking=False):
            drawing.DRAWING.release()
            time.sleep(0.001)
        if (child := os.fork()) == 0:
            signal.alarm(20)
            os._exit(not np.array_equal(space.generate([1], {0: 3.0}), wanted))
        ended = os.waitpid(child, 0)[1]
    assert os.waitstatus_to_exitcode(ended) == 0
    assert len(others.result()) == 64


def test_it_is_found_from_another_folder(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(finished.parent)
    space = SliderSpace.load(finished.name)
    monkeypatch.chdir(tmp_path)
    assert len(space.describe()["sliders"]) == len(export(space, tmp_path / "lora")) == 3


def test_it_is_short_to_print_and_may_be_a_key(space: SliderSpace) -> None:
    assert "a robot" in repr(space) and len(repr(space)) < 3000
    assert {space: 1}[space] == 1


def test_seed_17_is_the_same_mix_wherever_it_stands(space: SliderSpace) -> None:
    alone = space.mix([17], active=2)
    for seeds in ([1, 17], list(range(18))):
        close(space.mix(seeds, active=2)[seeds.index(17)][None], alone)


def test_prompts_of_a_space_take_turns_by_seed(space: SliderSpace, small: dict[str, Any]) -> None:
    both = space.generate([6, 7])
    close(both[:1], space.generate([6], prompt=small["prompts"][0]))
    close(both[1:], space.generate([7], prompt=small["prompts"][1]))


def test_a_sweep_is_its_images_one_by_one(space: SliderSpace) -> None:
    images = space.sweep(2, [3, 4], [-1, 0, 2.5])
    assert images.shape == (2, 3, 32, 32, 3)
    close(images[:, 1], space.generate([3, 4]))
    close(images[:, 0], space.generate([3, 4], {2: -1}))
    close(images[:, 2], space.generate([3, 4], {2: 2.5}))


def test_a_later_start_changes_less(space: SliderSpace) -> None:
    base, early, late = space.generate([3]), space.generate([3], {0: 2}), space.generate([3], {0: 2}, start_step=2)
    assert 0 < np.abs(late.astype(int) - base).mean() < np.abs(early.astype(int) - base).mean()


@pytest.mark.parametrize(
    "wrong",
    [
        *({3: 1.0}, {-1: 1.0}, {0: np.nan}, {0: np.inf}, {1.5: 1.0}, {"0": 1.0}, {0: "much"}, {0: None}),
        *(1.0, [1, 2], [1, 2, 3, 4], [1, [2], 3], "123", np.full(3, np.nan), np.zeros((2, 3))),
    ],
    ids=str,
)
def test_strengths_a_space_has_not(space: SliderSpace, wrong: Any) -> None:
    with pytest.raises(BadInput):
        space.generate([1], wrong)


@pytest.mark.parametrize("scales", [[np.nan], [0, np.inf], []], ids=str)
def test_scales_that_are_no_numbers(space: SliderSpace, scales: list[float]) -> None:
    with pytest.raises(BadInput):
        space.sweep(0, [1], scales)


def test_a_mix_of_no_strength_is_refused(space: SliderSpace) -> None:
    with pytest.raises(BadInput, match="finite"):
        space.mix([0], active=2, scale=float("nan"))


@pytest.mark.parametrize("seeds", [[], [-1], [2**64], [1.0], ["1"], [None]], ids=str)
def test_seeds_that_are_none(space: SliderSpace, seeds: list[int]) -> None:
    with pytest.raises(BadInput):
        space.generate(seeds)


def test_prompts_that_cannot_be_drawn(space: SliderSpace) -> None:
    for prompt in ("", "   ", "a \udce9 robot", "much too long a prompt for this model"):
        with pytest.raises(BadInput):
            space.generate([1], prompt=prompt)


@pytest.mark.parametrize("name", ["directions.safetensors", "sliders.safetensors", "space.json"])
def test_an_unfinished_folder_says_how_to_go_on(finished: Path, tmp_path: Path, name: str) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    (folder / name).unlink()
    with pytest.raises(BadInput, match=r"not finished[\s\S]*discover --out"):
        SliderSpace.load(folder)


def test_a_space_needs_no_config(finished: Path, tmp_path: Path) -> None:
    """config.json says what its folder is to become; the settings of the space are in space.json."""
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    (folder / "config.json").unlink()
    assert SliderSpace.load(folder).settings == SliderSpace.load(finished).settings


# ---- the Python interface


def test_every_public_name_is_there() -> None:
    assert {*sliderspace.__all__, "__version__"} <= set(dir(sliderspace)), "completed by the tabulator"
    assert len(sliderspace.__all__) == len(set(sliderspace.__all__)) <= 16
    assert all(getattr(sliderspace, name).__module__.startswith("sliderspace") for name in sliderspace.__all__)
    with pytest.raises(AttributeError, match="nonesuch"):
        sliderspace.nonesuch  # noqa: B018


@pytest.fixture
def quick(small: dict[str, Any]) -> dict[str, Any]:
    return {
        **{k: v for k, v in small.items() if k != "prompts"},
        "samples": 20,
        "updates": 3,
        "speed": Speed(device="cpu"),
        "quiet": True,
    }


@pytest.mark.usefixtures("least_measured")
def test_discover_in_one_call_and_again_at_once(
    quick: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = sliderspace.discover("a robot", tmp_path / "run", **quick)
    assert space.settings.prompts == ("a robot",) and space.generate([1], {0: 1.0}).shape == (1, 32, 32, 3)
    assert (tmp_path / "run" / "report.html").stat().st_size > 1000
    assert capsys.readouterr().out == ""
    made = (tmp_path / "run" / "sliders.safetensors").stat().st_mtime_ns
    again = sliderspace.discover(["a robot"], tmp_path / "run", **quick)
    assert (tmp_path / "run" / "sliders.safetensors").stat().st_mtime_ns == made
    assert np.array_equal(again.units_K, space.units_K)


@pytest.mark.usefixtures("least_measured")
def test_a_discovery_in_pictures_that_are_not_square(quick: dict[str, Any], tmp_path: Path) -> None:
    space = sliderspace.discover("a robot", tmp_path / "run", resolution="48x32", **quick)
    assert space.settings.resolution == (48, 32) and space.backbone.latent_shape == (4, 8, 12)
    assert space.generate([1], {0: 1.0}).shape == (1, 32, 48, 3)
    assert space.sweep(0, [1], (-1, 1)).shape == (1, 2, 32, 48, 3)
    assert (tmp_path / "run" / "report.html").stat().st_size > 1000
    (file, *_) = export(space, tmp_path / "lora")
    with safe_open(file, framework="np") as opened:
        assert opened.metadata()["modelspec.resolution"] == "48x32"
    made = (tmp_path / "run" / "sliders.safetensors").stat().st_mtime_ns
    sliderspace.discover("a robot", tmp_path / "run", resolution=[48, 32], **quick)
    assert (tmp_path / "run" / "sliders.safetensors").stat().st_mtime_ns == made, "the same settings, said otherwise"


def test_discover_refuses_what_it_does_not_know(quick: dict[str, Any], tmp_path: Path) -> None:
    for wrong in ({"slider": 3}, {"sliders": 0}, {"precision": "int3"}, {"backbone": "nonesuch"}):
        with pytest.raises(BadInput):
            sliderspace.discover("a robot", tmp_path / "run", **{**quick, **wrong})
