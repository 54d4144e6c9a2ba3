"""What the page may ask for, asked in Python: no browser and no Gradio."""

import base64
import io
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.spaces import SEEDS, drawn, load_adapters
from support.tiny import Tiny

from sliderspace.core.errors import BadInput
from sliderspace.core.settings import Speed
from sliderspace.explore.mix import Mix
from sliderspace.explore.session import Session
from sliderspace.explore.stored import limits
from sliderspace.explore.studio import Stale, Studio, scales_within
from sliderspace.measure.results import SliderMeasures
from sliderspace.space.space import SliderSpace
from sliderspace.storage.files import load_tensors
from sliderspace.storage.images import to_uint8
from sliderspace.storage.run_folder import RunFolder


def pixels(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB"))


def test_a_run_opens_on_stored_pictures_without_its_model(session: Session, run: Path) -> None:
    found = session.act({"action": "open", "run": 0})
    strips = load_tensors(RunFolder(run).strips, kind="strips")[0]["sliders"].numpy()
    assert [row["index"] for row in found["rows"]] == [0, 1, 2]
    assert found["scales"] == [-3, -2, -1, 0, 1, 2, 3]
    side = strips.shape[3]
    sheet = pixels(found["rows"][1]["strip"])
    assert sheet.shape == (len(found["seeds"]) * side, 7 * side, 3)
    cell = sheet[side : 2 * side, 4 * side : 5 * side].astype(int)  # of seed 1 at +1, as JPEG
    far = np.abs(strips.astype(int) - cell).mean(axis=(-3, -2, -1))
    assert np.unravel_index(far.argmin(), far.shape) == (1, 1, 4)
    assert not session.studio.is_loaded(run.resolve())


def test_two_sliders_together_are_what_generate_draws(session: Session, run: Path) -> None:
    mix = {"strengths": {"0": 1.5, "2": -2.0}, "seeds": "3,5", "prompt": "a person", "start": 1}
    found = session.act({"action": "draw", "run": 0, "mix": mix})["pictures"]
    space = SliderSpace.load(run, Speed(device="cpu"))
    expected = space.generate([3, 5], {0: 1.5, 2: -2.0}, prompt="a person", start_step=1)
    for picture, due, base in zip(found, expected, space.generate([3, 5], prompt="a person"), strict=True):
        assert (pixels(picture["edited"]) == due).all()
        assert (pixels(picture["base"]) == base).all()
    assert (expected[0] != space.generate([3], prompt="a person")[0]).any()


def test_the_stored_strips_show_the_seeds_that_are_drawn(session: Session, run: Path) -> None:
    """So a picture stays the same creature when the model takes over from the strip."""
    seeds = session.act({"action": "open", "run": 0})["seeds"]
    stored = load_tensors(RunFolder(run).strips, kind="strips")[0]["sliders"].numpy()[0, :, 3]
    found = session.act({"action": "draw", "run": 0, "mix": {"seeds": ",".join(seeds)}})["pictures"]
    assert len(SliderSpace.load(run).settings.prompts) > 1 and len(found) == len(seeds) > 1
    for picture, due in zip(found, stored, strict=False):
        assert np.abs(pixels(picture["base"]).astype(int) - due).max() <= 1


def test_a_slider_passed_by_does_nothing(session: Session) -> None:
    mix = {"strengths": {"1": 3.0}, "off": [1], "seeds": "2"}
    (found,) = session.act({"action": "draw", "run": 0, "mix": mix})["pictures"]
    assert found["edited"] == found["base"]
    (turned,) = session.act({"action": "draw", "run": 0, "mix": {**mix, "off": []}})["pictures"]
    assert turned["edited"] != turned["base"]


def test_only_the_newest_request_of_a_tab_is_drawn(run: Path) -> None:
    studio, answers = Studio(Speed(device="cpu")), dict[str, Any]()

    def asking(tab: str, ticket: int) -> None:
        try:
            answers[f"{tab}{ticket}"] = studio.draw(run, Mix(strengths={0: float(ticket)}, seeds="1"), tab, ticket)
        except Stale:
            answers[f"{tab}{ticket}"] = "stale"

    threads = [threading.Thread(target=asking, args=about) for about in (("a", 1), ("a", 2), ("a", 3), ("b", 1))]
    with studio._lock:  # the model is busy
        for thread in threads:
            thread.start()
            time.sleep(0.05)
    for thread in threads:
        thread.join(60)
    assert answers["a1"] == answers["a2"] == "stale"
    assert (answers["a3"].edited != answers["b1"].edited).any()


def test_runs_of_one_model_share_it(run: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(run, tmp_path / "other"))
    studio = Studio(Speed(device="cpu"))
    for folder in (run, other):
        studio.draw(folder, Mix(seeds="1"))
    assert studio._space(run).backbone is studio._space(other).backbone
    studio.forget()
    assert not studio.is_loaded(run)


def test_a_page_of_sliders_that_were_made_anew_is_told_to_load_again(session: Session) -> None:
    of = session.act({"action": "open", "run": 0})["made_from"]
    named = {"action": "rename", "run": 0, "slider": 0, "name": "horns"}
    assert "made anew" in session.act({**named, "of": "other"})["error"]
    assert session.act({**named, "of": of})["name"] == "horns"
    session.act({**named, "name": ""})


def test_the_same_sliders_given_another_model_are_loaded_anew(run: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(run, tmp_path / "other"))
    studio, place = Studio(Speed(device="cpu")), RunFolder(other).space
    before = studio._space(other)
    place.write_text(place.read_text().replace('"guidance": 1.0', '"guidance": 2.0'))
    assert (before.settings.guidance, studio._space(other).settings.guidance) == (1.0, 2.0)


def test_an_error_of_the_model_is_a_message_and_the_app_goes_on(
    session: Session, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA out of memory")

    mix = {"strengths": {"0": 1.0}, "seeds": "1"}
    with monkeypatch.context() as patched:
        patched.setattr(SliderSpace, "generate", fail)
        assert session.act({"action": "draw", "run": 0, "mix": mix})["error"].endswith("CUDA out of memory")
    assert len(session.act({"action": "draw", "run": 0, "mix": mix})["pictures"]) == 1


def test_names_presets_and_what_is_hidden_survive(session: Session, run: Path) -> None:
    mix = {"strengths": {"1": 2.0}, "prompt": "a person", "seeds": "4"}
    assert session.act({"action": "rename", "run": 0, "slider": 2, "name": "long horns"}) == {
        "name": "long horns",
        "sure": True,
    }
    session.act({"action": "hide", "run": 0, "slider": 0, "hidden": True})
    session.act({"action": "save_preset", "run": 0, "name": "evening", "mix": mix})
    again = Session([run]).act({"action": "open", "run": 0})
    assert again["rows"][2]["name"] == "long horns"
    assert list(again["hidden"]) == [0]
    assert again["presets"]["evening"]["strengths"] == {"1": 2.0}
    session.act({"action": "hide", "run": 0, "slider": 0, "hidden": False})
    assert session.act({"action": "delete_preset", "run": 0, "name": "evening"}) == {"presets": {}}
    assert Session([run]).act({"action": "open", "run": 0})["hidden"] == []


def test_two_writers_of_names_and_presets_lose_nothing(run: Path) -> None:
    def writing(own: Session, who: int) -> None:
        for i in range(8):
            own.act({"action": "save_preset", "run": 0, "name": f"{who} {i}", "mix": {}})
            own.act({"action": "rename", "run": 0, "slider": who, "name": f"name {i}"})

    sessions = [Session([run]), Session([run])]
    threads = [threading.Thread(target=writing, args=(own, who)) for who, own in enumerate(sessions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    found = Session([run]).act({"action": "open", "run": 0})
    assert set(found["presets"]) == {f"{who} {i}" for who in (0, 1) for i in range(8)}
    assert [row["name"] for row in found["rows"]] == ["name 7", "name 7", ""]


def test_chosen_sliders_are_exported_into_the_run_folder(session: Session, run: Path) -> None:
    found = session.act({"action": "export", "run": 0, "sliders": [2, 0, 2]})
    assert len(found["files"]) == 2
    assert all((run / "lora" / name).is_file() for name in found["files"])


def test_the_whole_mix_is_one_file_that_draws_in_diffusers_what_the_page_shows(
    session: Session, run: Path, tiny: Tiny
) -> None:
    from diffusers import StableDiffusionPipeline

    turned = {"strengths": {"0": 1.5, "1": 1.0, "2": -2.0}, "off": [1], "seeds": ",".join(map(str, SEEDS))}
    asked = {"run": 0, "mix": {**turned, "prompt": "a robot"}}
    page = session.act({"action": "draw", **asked})["pictures"]
    found = session.act({"action": "export_whole", **asked, "name": "evening"})
    assert found["files"] == ["a-robot--velocity-mix-evening.safetensors"] and not found["note"]
    path = run / "lora" / found["files"][0]
    pipe = StableDiffusionPipeline.from_pretrained(tiny.velocity, safety_checker=None, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    base = to_uint8(drawn(pipe)).numpy()
    load_adapters(pipe, {0: path}, {0: 1.0})
    for picture, due, without in zip(page, to_uint8(drawn(pipe)).numpy(), base, strict=True):
        shown = pixels(picture["edited"]).astype(int)
        assert np.abs(shown - due).max() <= 1
        assert np.abs(shown - without).max() > 10
    assert Image.open(path.with_suffix(".png")).width == 2 * 32 + 2  # the page's pictures, without and with the mix
    late = session.act({"action": "export_whole", "run": 0, "mix": {**turned, "start": 1}})
    assert "every step" in late["note"]


def test_a_sweep_is_a_strip_and_a_moving_picture(session: Session) -> None:
    found = session.act({"action": "sweep", "run": 0, "mix": {"seeds": "1,2"}, "slider": 1, "span": [-2, 3]})
    gif = Image.open(io.BytesIO(base64.b64decode(found["gif"].partition(",")[2])))
    assert gif.n_frames == 12  # seven there, five back
    assert pixels(found["strip"]).shape[1] > 7 * 32


def test_a_span_is_swept_from_end_to_end_through_zero() -> None:
    assert scales_within((-3, 1.5)) == [-3, -2, -1, 0, 0.5, 1, 1.5]
    with pytest.raises(BadInput):
        scales_within((1, 2))


@pytest.mark.parametrize(
    ("span", "due"),
    [
        ((-2.0, 3.0), (-2, 3)),
        ((-0.2, 0.5), (-1, 1)),
        ((0.0, 0.0), (-3, 3)),
        ((-1e300, 1e300), (-10, 10)),
        (None, (-3, 3)),
    ],
)
def test_limits_follow_the_usable_span(span: tuple[float, float] | None, due: tuple[float, float]) -> None:
    assert limits(SliderMeasures(span=span)) == due


def test_imported_sliders_have_rows_without_pictures(session: Session, run: Path, tmp_path: Path) -> None:
    from sliderspace.share.importing import load_files, make_space

    session.act({"action": "export", "run": 0, "sliders": [0, 1]})
    make_space(
        load_files(run / "lora"),
        tmp_path / "imported",
        backbone=str(SliderSpace.load(run).settings.backbone),
        prompt=None,
    )
    again = Session([tmp_path / "imported"])
    found = again.act({"action": "open", "run": 0})
    assert [row["strip"] for row in found["rows"]] == ["", ""]
    assert "pictures" in again.act({"action": "draw", "run": 0, "mix": {"strengths": {"1": 1}, "seeds": "1"}})


def test_a_folder_of_runs_is_explored_whole(run: Path) -> None:
    for name in ("again", "begun"):
        shutil.copytree(run, run.parent / name)
    (run.parent / "begun" / "space.json").unlink()
    session = Session([run.parent])
    assert session.act({"action": "runs"})["runs"] == ["a robot (again)", "a robot (robots)"]
    assert session.discovery.base == run.parent
    for name in ("again", "robots"):
        shutil.rmtree(run.parent / name)
    with pytest.raises(BadInput, match="not finished"):
        Session([run.parent])


def test_a_removed_run_is_listed_as_not_there_and_takes_no_model_away(run: Path) -> None:
    other = Path(shutil.copytree(run, run.parent / "other"))
    session = Session([run, other])
    models = session.act({"action": "runs"})["models"]
    shutil.rmtree(other)
    found = session.act({"action": "runs"})
    assert found["runs"] == ["a robot (robots)", "not there (other)"]
    assert found["models"] == models


def test_a_folder_without_a_space_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="not the folder of a run"):
        Session([tmp_path])
    with pytest.raises(BadInput, match="name a run folder"):
        Session([])
