"""What the page may ask for, asked in Python: no browser and no Gradio."""

import base64
import io
import json
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
from sliderspace.explore.mix import FARTHEST, MOST_PICTURES, Mix
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
    seed = session.act({"action": "open", "run": 0})["seeds"][0]
    space = SliderSpace.load(run, Speed(device="cpu"))
    stored = load_tensors(RunFolder(run).strips, kind="strips")[0]["sliders"].numpy()[0, 0, 3]
    prompt = space.settings.prompts[0]  # seed number 0 of the measuring shows prompt 0
    found = session.act({"action": "draw", "run": 0, "mix": {"seeds": seed, "prompt": prompt}})["pictures"][0]
    assert np.abs(pixels(found["base"]).astype(int) - stored).max() <= 1


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


HOSTILE: list[tuple[str, object]] = [
    ("no object", ["draw"]),
    ("no action", {}),
    ("an inner name", {"action": "__init__"}),
    ("another inner name", {"action": "_run", "number": 0}),
    ("a run by path", {"action": "open", "run": "../../etc"}),
    ("a run that is not there", {"action": "open", "run": 99}),
    ("a run from behind", {"action": "open", "run": -1}),
    ("a field too many", {"action": "open", "run": 0, "path": "/etc/passwd"}),
    ("a slider that is not there", {"action": "draw", "run": 0, "mix": {"strengths": {"77": 1}}}),
    ("strength of words", {"action": "draw", "run": 0, "mix": {"strengths": {"0": "much"}}}),
    ("strength not a number", {"action": "draw", "run": 0, "mix": {"strengths": {"0": float("nan")}}}),
    ("endless strength", {"action": "draw", "run": 0, "mix": {"strengths": {"0": float("inf")}}}),
    ("seeds of words", {"action": "draw", "run": 0, "mix": {"seeds": "all of them"}}),
    ("a million pictures", {"action": "draw", "run": 0, "mix": {"seeds": "0-1000000"}}),
    ("a seed of 300 digits", {"action": "draw", "run": 0, "mix": {"seeds": "9" * 300}}),
    ("a seed beyond 63 bits", {"action": "draw", "run": 0, "mix": {"seeds": str(2**63)}}),
    ("a step that is not there", {"action": "draw", "run": 0, "mix": {"start": 900, "strengths": {"0": 1}}}),
    ("a prompt without end", {"action": "draw", "run": 0, "mix": {"prompt": "x" * 10**6}}),
    ("a name without end", {"action": "rename", "run": 0, "slider": 0, "name": "x" * 10**6}),
    ("a preset without a name", {"action": "save_preset", "run": 0, "name": " \u200b", "mix": {}}),
    ("a preset of markup in a number", {"action": "save_preset", "run": 0, "name": "p", "mix": {"start": "<b>"}}),
    ("hiding what is not there", {"action": "hide", "run": 0, "slider": 10**9, "hidden": True}),
    ("exporting what is not there", {"action": "export", "run": 0, "sliders": [5]}),
    ("a mix of what is not there", {"action": "export_whole", "run": 0, "mix": {"strengths": {"5": 1}}}),
    ("a mix of nothing", {"action": "export_whole", "run": 0, "mix": {"strengths": {"0": 1}, "off": [0]}}),
    ("going on with nothing", {"action": "go_on"}),
    ("a sweep of no width", {"action": "sweep", "run": 0, "mix": {}, "slider": 0, "span": [0, 0]}),
    ("a discovery with a model of their choice", {"action": "discover", "asked": {"prompt": "x", "backbone": "/etc"}}),
    ("a discovery of nothing", {"action": "discover", "asked": {"prompt": "  "}}),
    ("a discovery of millions", {"action": "discover", "asked": {"prompt": "x", "sliders": 10**9}}),
]


@pytest.mark.parametrize("asked", [asked for _, asked in HOSTILE], ids=[name for name, _ in HOSTILE])
def test_hostile_requests_get_a_message_and_change_nothing(session: Session, run: Path, asked: object) -> None:
    def listing() -> dict[str, int]:
        return {str(path): path.stat().st_mtime_ns for path in run.parent.rglob("*") if ".lock" not in path.name}

    before = listing()
    answer = session.act(asked)
    assert set(answer) == {"error"}
    assert 0 < len(answer["error"]) < 400
    assert {p: t for p, t in listing().items() if not Path(p).is_dir()} == {
        p: t for p, t in before.items() if not Path(p).is_dir()
    }


def test_huge_strengths_are_brought_into_range() -> None:
    assert Mix(strengths={0: 1e300, 1: -1e300, 2: 3}).strengths == {0: FARTHEST, 1: -FARTHEST, 2: 3}
    assert len(Mix(seeds=f"0-{MOST_PICTURES - 1}").listed_seeds) == MOST_PICTURES


@pytest.mark.parametrize("name", ["presets", "labels"])
def test_a_damaged_file_is_a_message(session: Session, run: Path, name: str) -> None:
    session.act({"action": "save_preset", "run": 0, "name": "p", "mix": {}})
    session.act({"action": "rename", "run": 0, "slider": 0, "name": "n"})
    path = run / {"presets": "explore.json", "labels": "labels.json"}[name]
    path.write_text(path.read_text()[:50])
    assert path.name in session.act({"action": "open", "run": 0})["error"]


@pytest.mark.parametrize(
    "view",
    [
        '{"presets": {"p": {"strengths": {"0": 1e999}}}}',
        '{"presets": {"p": {"run": "../../etc"}}}',
        '{"hidden": ["<b>"]}',
        '{"presets": []}',
        "[" * 100_000,
    ],
    ids=["endless", "a field too many", "markup for a number", "a list", "deep"],
)
def test_presets_that_cannot_be_are_a_message(session: Session, run: Path, view: str) -> None:
    session.act({"action": "save_preset", "run": 0, "name": "p", "mix": {}})
    stored = json.loads((run / "explore.json").read_text())
    stamp = {key: stored[key] for key in ("format", "kind", "fingerprint")}
    (run / "explore.json").write_text(f"{json.dumps(stamp)[:-1]}, {view[1:]}" if view[0] == "{" else view)
    answer = session.act({"action": "open", "run": 0})
    assert "explore.json" in answer["error"]


def test_endless_measures_do_no_harm(session: Session, run: Path) -> None:
    measures = json.loads((run / "measures.json").read_text())
    for slider in measures["sliders"]:
        slider |= {"span": [-1e300, 1e300], "alignment": 1e308, "selectivity": -1e308, "unit": 1e-300}
    (run / "measures.json").write_text(json.dumps(measures))
    for found in session.act({"action": "open", "run": 0})["rows"]:
        assert tuple(found["span"]) == (-FARTHEST, FARTHEST)
        assert len(found["measures"]) < 1000


@pytest.mark.parametrize("name", ["explore.json", "labels.json"])
def test_a_link_in_the_run_folder_is_replaced_and_never_written_through(
    session: Session, run: Path, tmp_path: Path, name: str
) -> None:
    mine = tmp_path / "mine.json"
    mine.write_text("{}")
    (run / name).symlink_to(mine)
    for _ in range(2):  # the first may say that the file is damaged
        session.act({"action": "save_preset", "run": 0, "name": "p", "mix": {}})
        session.act({"action": "rename", "run": 0, "slider": 0, "name": "n"})
    assert mine.read_text() == "{}"


def test_markup_is_kept_as_it_is_typed(session: Session) -> None:
    """The page shows it as text: escaped twice, it would be seen escaped."""
    session.act({"action": "save_preset", "run": 0, "name": "<b>x</b>", "mix": {"prompt": "<script>"}})
    session.act({"action": "rename", "run": 0, "slider": 0, "name": "a &amp; \u202eb"})
    found = session.act({"action": "open", "run": 0})
    assert found["presets"]["<b>x</b>"]["prompt"] == "<script>"
    assert found["rows"][0]["name"] == "a &amp; ⟨U+202E⟩b"


def test_a_folder_without_a_space_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="not the folder of a run"):
        Session([tmp_path])
    with pytest.raises(BadInput, match="name a run folder"):
        Session([])
