"""The Hub: what a push uploads, what a pull brings back, and what is said when either cannot be.

Nothing here reaches the real Hub. huggingface_hub itself talks over HTTP to a small stand-in (support/hub.py).
"""

import json
import os
import re
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub.utils import are_progress_bars_disabled
from kills import contents
from PIL import Image
from support.hub import Hub
from support.spaces import change_settings
from support.tiny import Tiny

from sliderspace.core.errors import BadInput, SliderSpaceError
from sliderspace.core.settings import Speed
from sliderspace.measure.results import SpaceFile
from sliderspace.models import sources
from sliderspace.models.backbones.pipeline import quantization
from sliderspace.models.identity import identity_of
from sliderspace.share.export import export, slider_notes
from sliderspace.share.hub import prepare, pull, push
from sliderspace.share.importing import import_space
from sliderspace.share.modelspec import ONLY_DIFFUSERS
from sliderspace.space.labels import labels_of, rename
from sliderspace.space.space import SliderSpace
from sliderspace.storage.run_folder import RunFolder

RUN_FILES = {
    "config.json",
    "directions.safetensors",
    "measures.json",
    "sliders.safetensors",
    "space.json",
    "strips.safetensors",
}
LORAS = {f"a-robot--velocity-{k:02d}.safetensors" for k in range(3)}


# ---- what is uploaded


@pytest.fixture(scope="module")
def made(finished: Path, tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that is uploaded for the small run. In place of Hub ids the card names folders that are here, so its
    code runs."""
    target = tmp_path_factory.mktemp("made")
    prepare(finished, target, str(target), licence="Apache-2.0", base_model=str(tiny.velocity))
    return target


def test_what_is_uploaded(made: Path, finished: Path) -> None:
    found = {path.relative_to(made).as_posix() for path in made.rglob("*") if path.is_file()}
    pictures = {"images/base.png", *(f"images/slider-{k:02d}.png" for k in range(3))}
    assert found == {
        "README.md",
        *RUN_FILES,
        *pictures,
        *(
            f"lora/{name.removesuffix('.safetensors')}{end}"
            for name in LORAS
            for end in (".safetensors", ".png", ".json")
        ),
    }
    says_where = {"config.json", "space.json"}
    assert all((made / name).read_bytes() == (finished / name).read_bytes() for name in RUN_FILES - says_where)
    here, there = (SpaceFile.read(folder / "space.json") for folder in (finished, made))
    assert here.model_copy(update={"settings": there.settings}) == there
    changed = ("backbone: ", "encoder: ")
    assert [line.partition(" ")[0] + " " for line in here.changed(there.settings)] == list(changed), (
        "folders of this machine"
    )
    strip = np.asarray(Image.open(made / "images" / "slider-01.png"))
    assert strip.shape[1] == 7 * (32 + 2) - 2 and strip.shape[0] > 2 * 32 and strip.std() > 5, (
        "two seeds at seven strengths"
    )


def test_the_card_tells_the_hub_and_a_reader(made: Path, tiny: Tiny) -> None:
    from huggingface_hub import ModelCard

    card = ModelCard((made / "README.md").read_text())
    assert card.data.license == "apache-2.0" and card.data.base_model == [str(tiny.velocity)]
    assert (
        card.data.library_name == "diffusers"
        and card.data.pipeline_tag == "text-to-image"
        and "sliderspace" in card.data.tags
    )
    assert "“a robot”" in card.text and "- a person" in card.text and "Apache" in card.text
    assert ONLY_DIFFUSERS in card.text and "In ComfyUI" not in card.text
    for name in LORAS:
        assert f"`{name}`" in card.text
    shown = re.findall(r"!\[.*?\]\((.+?)\)", card.text)
    assert len(shown) == 3 and all((made / name).is_file() for name in shown)
    assert len(re.findall(r"alignment [−\d.]+, consistency [−\d.]+", card.text)) == 3
    assert "\n\n\n\n" not in card.text and "None" not in card.text.partition("## How they were found")[0]


def test_the_code_on_the_card_runs(made: Path, tmp_path: Path) -> None:
    from diffusers.utils import logging

    logging.disable_progress_bar()
    first, second = re.findall(r"```python\n(.*?)```", (made / "README.md").read_text(), re.DOTALL)
    (tmp_path / "card.py").write_text(f"{first}\nearly = image\n{second}")
    names = runpy.run_path(str(tmp_path / "card.py"))
    early = np.asarray(names["early"])
    assert early.shape == np.asarray(names["image"]).shape and names["pipeline"].get_active_adapters() == ["slider_0"]


def test_a_prompt_is_text_on_the_card_and_not_markup(finished: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    change_settings(folder, prompts=("![x](http://evil) <script>\n# a `b` | c", 'quote " and \\ and ```'))
    (tmp_path / "made").mkdir()
    prepare(folder, tmp_path / "made", "jane/robots")
    text = (tmp_path / "made" / "README.md").read_text()
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    assert "<script>" not in prose and "![x](" not in prose and "\n# a" not in text and r"\<script\>" in prose
    for code in re.findall(r"```python\n(.*?)```\n", text, re.DOTALL):
        compile(code, "card", "exec")
    assert "license: other\n" in text and "license_name" not in text, "nobody named a licence"


def test_the_card_names_every_part_of_a_presets_model(finished: Path, tmp_path: Path) -> None:
    """SDXL-DMD2 is SDXL with the UNet of another repository, each under its own licence."""
    from huggingface_hub import ModelCard

    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    change_settings(folder, backbone="sdxl-dmd2", steps=None, guidance=None)
    (tmp_path / "made").mkdir()
    prepare(folder, tmp_path / "made", "jane/robots")
    card = ModelCard((tmp_path / "made" / "README.md").read_text())
    assert (
        card.data.base_model == ["stabilityai/stable-diffusion-xl-base-1.0", "tianweiy/DMD2"]
        and card.data.license == "other"
    )
    assert re.fullmatch(r"[a-z0-9.-]+", card.data.license_name) and "BY-NC" in card.text
    assert (
        "from_pretrained('stabilityai/stable-diffusion-xl-base-1.0')" in card.text
        and "timesteps=[999, 749, 499, 249]" in card.text
    )


def test_a_space_without_pictures_has_a_card_too(made: Path, tmp_path: Path) -> None:
    import_space(made / "lora", tmp_path / "run")
    (tmp_path / "made").mkdir()
    prepare(tmp_path / "run", tmp_path / "made", "jane/robots", licence="Some Licence 2.0 (beta)")
    text = (tmp_path / "made" / "README.md").read_text()
    assert (
        "![" not in text
        and "license_name: some-licence-2.0-beta" in text
        and not (tmp_path / "made" / "images").exists()
    )


# ---- pushed and pulled


def test_what_was_pushed_is_what_is_pulled(hub: type[Hub], finished: Path, tiny: Tiny, tmp_path: Path) -> None:
    address = push(finished, "jane/robots", token="writer", licence="Apache-2.0")
    assert (
        address.endswith("/jane/robots")
        and RUN_FILES | {"README.md"} <= hub.repos["jane/robots"].keys()
        and not hub.private
    )
    space = pull("jane/robots", tmp_path / "pulled", backbone=str(tiny.velocity))
    assert not are_progress_bars_disabled(), "whoever calls this from Python keeps the bars of other downloads"
    own = SliderSpace.load(finished, Speed(device="cpu"))
    assert space.settings == own.settings.model_copy(update={"encoder": space.settings.encoder})
    assert all(np.array_equal(space.values[name], own.values[name]) for name in own.values)
    assert np.array_equal(space.generate([3], {1: 1.0}), own.generate([3], {1: 1.0}))
    assert (tmp_path / "pulled" / "images" / "slider-00.png").is_file() and (tmp_path / "pulled" / "lora").is_dir()


def test_a_pulled_space_says_where_its_model_was(hub: type[Hub], finished: Path, tiny: Tiny, tmp_path: Path) -> None:
    """A model in somebody's folder: its name and digest, never its place; and how to say where it lies here."""
    push(finished, "jane/robots", token="writer")
    space = pull("jane/robots", tmp_path / "pulled")
    assert space.settings.backbone == f"local:velocity@{identity_of(tiny.velocity)}"
    assert json.loads((tmp_path / "pulled" / "space.json").read_text())["imported"] is True
    with pytest.raises(BadInput, match=r"'velocity@.*', a folder of another machine.*\n.*--backbone FOLDER"):
        space.generate([1])
    with pytest.raises(BadInput):
        pull("jane/robots", tmp_path / "other", backbone=str(tmp_path / "nothing"))
    assert not (tmp_path / "other").exists()
    assert pull("jane/robots", tmp_path / "pulled", backbone=str(tiny.velocity)).generate([1]).shape == (1, 32, 32, 3)


def test_a_second_push_leaves_nothing_of_the_first_behind(hub: type[Hub], finished: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    push(folder, "jane/robots", token="writer", private=True)
    rename(RunFolder(folder), {1: "a hat"})
    push(folder, "jane/robots", token="writer")
    files = {name.partition("/")[2] for name in hub.repos["jane/robots"] if name.endswith(".safetensors")}
    files -= RUN_FILES | {""}
    assert files == LORAS - {"a-robot--velocity-01.safetensors"} | {
        "a-robot--velocity-01-a-hat.safetensors"
    } and hub.private == {"jane/robots"}
    assert "lora/a-robot--velocity-01.png" not in hub.repos["jane/robots"], "nor its picture"
    with pytest.raises(BadInput, match="private"):
        pull("jane/robots", tmp_path / "pulled")
    pull("jane/robots", tmp_path / "pulled", token="writer", revision="main")
    assert len(pull("jane/robots", tmp_path / "pulled", token="writer")) == 3, "into the same folder again"


def test_a_second_push_leaves_no_measures_of_another_space(
    hub: type[Hub], finished: Path, space: SliderSpace, tmp_path: Path
) -> None:
    """The second has neither measures nor strips nor directions; what a person added to the repository stays."""
    imported = import_space(export(space, tmp_path / "lora")[1], tmp_path / "run", backbone=space.settings.backbone)
    push(finished, "jane/robots", token="writer")
    hub.repos["jane/robots"] |= {"workflow.json": b"{}", "extra/measures.json": b"{}"}
    push(imported.folder, "jane/robots", token="writer")
    left = {name for name in hub.repos["jane/robots"] if name.endswith((".json", ".safetensors"))}
    left = {name for name in left if not name.startswith("lora/")}
    due = {"config.json", "directions.safetensors", "labels.json", "sliders.safetensors", "space.json"}
    assert left == {*due, "workflow.json", "extra/measures.json"}
    assert [note["measures"] for note in slider_notes(pull("jane/robots", tmp_path / "pulled"))] == [None]


def test_a_pull_brings_no_page_and_no_program(hub: type[Hub], finished: Path, tmp_path: Path) -> None:
    push(finished, "jane/robots", token="writer")
    extra = {"report.html": b"<script>", "run.py": b"1", "model.bin": b"pickle", "images/x.svg": b"<svg/>"}
    extra["unfinished/publishing.json"] = b"{}"
    hub.repos["jane/robots"] |= extra
    pull("jane/robots", tmp_path / "pulled")
    assert not any((tmp_path / "pulled" / name).exists() for name in extra)


def test_a_second_pull_keeps_a_persons_names(hub: type[Hub], finished: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    rename(RunFolder(folder), {1: "a hat", 2: "a coat"})
    push(folder, "jane/robots", token="writer")
    pull("jane/robots", tmp_path / "pulled")
    rename(own := RunFolder(tmp_path / "pulled"), {0: "my own name", 1: "a helmet"})
    later = own.labels.stat().st_mtime + 60
    os.utime(own.labels, (later, later))  # a change within a second goes unseen by the Hub's library
    pull("jane/robots", tmp_path / "pulled")
    assert [label.name for label in labels_of(own).sliders] == ["my own name", "a helmet", "a coat"]


def test_a_folder_of_hidden_files_alone_is_empty(hub: type[Hub], finished: Path, tmp_path: Path) -> None:
    push(finished, "jane/robots", token="writer")
    (tmp_path / "pulled").mkdir()
    (tmp_path / "pulled" / ".DS_Store").write_bytes(b"mac")
    assert len(pull("jane/robots", tmp_path / "pulled")) == 3


# ---- what goes wrong on the way


def test_a_pull_never_replaces_another_space(
    hub: type[Hub], finished: Path, space: SliderSpace, tmp_path: Path
) -> None:
    push(finished, "jane/robots", token="writer")
    push(space.folder, "jane/dragons", token="writer")
    pull("jane/robots", tmp_path / "pulled")
    before = contents(tmp_path / "pulled")
    with pytest.raises(BadInput, match=r"pulled already holds another space\.\n.*nothing was changed"):
        pull("jane/dragons", tmp_path / "pulled")
    assert contents(tmp_path / "pulled") == before


def one_line(error: pytest.ExceptionInfo[SliderSpaceError], said: str) -> None:
    assert said in str(error.value) and len(str(error.value).splitlines()) == 1, str(error.value)


@pytest.mark.parametrize(
    ("repo", "token", "said"),
    [
        ("jane/robots", None, "not logged in"),
        ("jane/robots", "stranger", "does not know this token"),
        ("jane/robots", "reader", "may not write to jane/robots"),
        ("someone/else", "writer", "may not write to someone/else"),
        ("not a name!", "writer", "is not the name of a repository"),
    ],
)
def test_pushes_that_cannot_be(hub: type[Hub], finished: Path, repo: str, token: str | None, said: str) -> None:
    with pytest.raises(BadInput) as error:
        push(finished, repo, token=token)
    one_line(error, said)
    assert not hub.repos


def test_a_push_of_no_space(hub: type[Hub], tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="not the folder of a run"):
        push(tmp_path, "jane/robots", token="writer")
    assert not hub.repos


@pytest.mark.parametrize(
    ("repo", "revision", "kind", "said"),
    [
        ("jane/nothing", None, BadInput, "there is no 'jane/nothing' on the Hub"),
        ("jane/gated", None, BadInput, "jane/gated is gated"),
        ("jane/robots", "v9", BadInput, "has no revision 'v9'"),
        ("jane/other", None, BadInput, "holds no space"),
        ("no name at all", None, BadInput, "is not the name of a repository"),
        ("jane/broken", None, SliderSpaceError, "error 500"),
    ],
)
def test_pulls_that_cannot_be(
    hub: type[Hub], tmp_path: Path, repo: str, revision: str | None, kind: type[SliderSpaceError], said: str
) -> None:
    hub.repos |= {"jane/robots": {"config.json": b"{}"}, "jane/other": {"model.safetensors": b""}}
    with pytest.raises(kind) as error:
        pull(repo, tmp_path / "pulled", revision=revision)
    one_line(error, said)
    assert type(error.value) is kind and not (tmp_path / "pulled").exists()


def test_a_pull_of_broken_files_says_so(hub: type[Hub], finished: Path, tmp_path: Path) -> None:
    push(finished, "jane/robots", token="writer")
    hub.repos["jane/robots"]["sliders.safetensors"] = b"short"
    with pytest.raises(BadInput, match="damaged"):
        pull("jane/robots", tmp_path / "pulled")


def test_a_pull_never_mixes_with_other_files(hub: type[Hub], finished: Path, tmp_path: Path) -> None:
    push(finished, "jane/robots", token="writer")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    for folder in (tmp_path / "mine", tmp_path / "mine" / "notes.txt", finished):
        with pytest.raises(BadInput, match="other files"):
            pull("jane/robots", folder)


@pytest.mark.parametrize("how", ["unreachable", "offline"])
def test_no_network(hub: type[Hub], finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """Also into a folder pulled before, which the library alone would hand back as if it were fresh."""
    from huggingface_hub import constants

    push(finished, "jane/robots", token="writer")
    pull("jane/robots", tmp_path / "before")
    if how == "offline":
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    else:
        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    for attempt in (
        lambda: pull("jane/robots", tmp_path / "new"),
        lambda: pull("jane/robots", tmp_path / "before"),
        lambda: push(finished, "jane/robots", token="writer"),
    ):
        with pytest.raises(SliderSpaceError) as error:
            attempt()
        one_line(error, "the Hub cannot be reached")


# ---- models from the Hub: the same server, asked by `sources`


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("jane/nothing", "there is no model 'jane/nothing'"),
        ("jane/gated", "jane/gated is gated"),
        ("jane/model@v9", "has no revision 'v9'"),
    ],
)
def test_a_model_that_cannot_be_had_is_told_in_a_line(hub: type[Hub], place: str, said: str) -> None:
    hub.repos["jane/model"] = {"model_index.json": b"{}"}
    with pytest.raises(BadInput, match=said) as told:
        sources.find(place)
    assert len(str(told.value).splitlines()) == 1


def test_a_model_is_fetched_once_and_known_by_its_commit(hub: type[Hub], monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repos["jane/model"] = {"model_index.json": b"{}", "unet/config.json": b"{}", "unet/weights.bin": b"no"}
    folder = sources.find("jane/model", ["*.json", "*/*.json"])
    assert sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()) == [
        "model_index.json",
        "unet/config.json",
    ]
    assert identity_of(folder).startswith("jane/model@") and len(identity_of(folder)) == len("jane/model@") + 12
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert sources.find("jane/model", ["*.json", "*/*.json"]) == folder, "what is in the cache needs no network"


def test_bits_without_their_library_are_told_in_a_line(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"sliderspace\[quantize\]"):
        quantization("4bit", torch.bfloat16)
