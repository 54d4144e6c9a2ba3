"""What exported files say to other programs: ModelSpec 1.0, the base model in each program's words, pictures, notes."""

import base64
import dataclasses
import hashlib
import io
import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open
from support.spaces import make_space
from torch import nn
from typer.testing import CliRunner

from sliderspace.cli import app
from sliderspace.core.settings import Pair, Speed
from sliderspace.measure.results import Measures
from sliderspace.models.backbones import PRESETS
from sliderspace.models.sources import COMMIT
from sliderspace.share.export import export, export_mix, known_as
from sliderspace.share.lora_files import load_file
from sliderspace.share.modelspec import ONLY_DIFFUSERS, span, weight
from sliderspace.share.places import base_identity
from sliderspace.space.labels import Label, propose, rename
from sliderspace.space.space import SliderSpace
from sliderspace.storage.run_folder import RunFolder

MUST = ("sai_model_spec", "architecture", "implementation", "title")
SHOULD = ("description", "author", "date", "hash_sha256", "resolution")
ATTENTION = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"
# Layers by which a family is told, its backbone, and what it is.
FAMILIES: dict[str, tuple[dict[str, nn.Linear], str]] = {
    "sd1": ({ATTENTION: nn.Linear(768, 4)}, "sd15"),
    "sd2": ({ATTENTION: nn.Linear(1024, 4)}, "sd21"),
    "sdxl": ({ATTENTION: nn.Linear(2048, 4)}, "sdxl-dmd2"),
    "flux": ({"single_transformer_blocks.0.attn.to_k": nn.Linear(8, 4)}, "flux-schnell"),
    "z-image": ({"layers.0.attention.to_k": nn.Linear(8, 4)}, "z-image-turbo"),
    "": ({ATTENTION: nn.Linear(64, 4)}, "mini"),
}


def metadata_of(path: Path) -> dict[str, str]:
    with safe_open(path, framework="np") as file:
        return file.metadata()


def notes_of(path: Path) -> dict[str, Any]:
    return json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))


# ---- the programs' own rules, as they are in their sources (share/modelspec.py says where)


def a1111(metadata: Mapping[str, str], notes: Mapping[str, Any]) -> str:
    words = ("Unknown", "SD1", "SD2", "SDXL")
    if notes.get("sd version") in words:
        return notes["sd version"]
    if metadata.get("ss_base_model_version", "").startswith("sdxl_"):
        return "SDXL"
    return "SD2" if metadata.get("ss_v2") == "True" else "SD1" if metadata else "Unknown"


def forge(metadata: Mapping[str, str], notes: Mapping[str, Any]) -> str:
    if notes.get("sd version") in ("Unknown", "SD1", "SD2", "SDXL", "Flux"):
        return notes["sd version"]
    architecture = metadata.get("modelspec.architecture", "")
    if metadata.get("modelspec.implementation") == "https://github.com/black-forest-labs/flux":
        return "Flux"
    if architecture == "flux-1-dev/lora":
        return "Flux"
    if architecture == "stable-diffusion-xl-v1-base/lora":
        return "SDXL"
    if metadata.get("ss_base_model_version", "").startswith("sdxl_"):
        return "SDXL"
    if metadata.get("ss_v2") == "True":
        return "SD2"
    return "SD1" if architecture == "stable-diffusion-v1/lora" else "Unknown"


def sdnext(metadata: Mapping[str, str]) -> str:
    base = metadata.get("ss_base_model_version", "").lower()
    architecture = metadata.get("modelspec.architecture", "").lower()
    starts = {"sd_v1": "sd1", "sdxl": "xl", "sd3": "sd3", "flux": "f1", "chroma": "chroma", "zimage": "zimage"}
    later = {"stable-diffusion-v1": "sd1", "stable-diffusion-xl": "xl", "flux": "f1", "chroma": "chroma"}
    for text, table in ((base, starts), (architecture, later)):
        for start, name in table.items():
            if text.startswith(start):
                return name
    return "sd2" if metadata.get("ss_v2") == "True" else ""


@pytest.mark.parametrize(
    ("kind", "in_a1111", "in_forge", "in_sdnext"),
    [
        ("sd1", "SD1", "SD1", "sd1"),
        ("sd2", "SD2", "SD2", "sd2"),
        ("sdxl", "SDXL", "SDXL", "xl"),
        ("flux", "SD1", "Flux", "f1"),  # A1111 has no word for what it cannot draw, and Forge has
        ("z-image", "Unknown", "Unknown", "zimage"),
        ("", "Unknown", "Unknown", ""),
    ],
)
def test_programs_take_a_file_for_what_it_is(
    tmp_path: Path, kind: str, in_a1111: str, in_forge: str, in_sdnext: str
) -> None:
    layers, backbone = FAMILIES[kind]
    [path] = export(make_space(tmp_path / "run", layers, count=1, backbone=backbone), tmp_path / "lora")
    metadata, notes = metadata_of(path), notes_of(path)
    assert (a1111(metadata, notes), forge(metadata, notes), sdnext(metadata)) == (in_a1111, in_forge, in_sdnext)
    assert forge(metadata, {}) == in_forge, "where the file is moved without its notes"
    assert all(metadata[f"modelspec.{key}"] for key in (*MUST, *SHOULD))
    assert (ONLY_DIFFUSERS in metadata["modelspec.description"]) == (ONLY_DIFFUSERS in notes["notes"]) == (not kind)


def test_architectures_and_sizes_by_model(tmp_path: Path) -> None:
    due = {
        ("sd1", "sd15"): ("stable-diffusion-v1", 512),
        ("sd2", "sd21"): ("stable-diffusion-v2-768-v", 768),
        ("sd2", "jane/sd2-base"): ("stable-diffusion-v2-512", 512),
        ("sdxl", "sdxl-turbo"): ("stable-diffusion-xl-v1-base", 512),
        ("flux", "flux-schnell"): ("flux-1-schnell", 1024),
        ("flux", "flux-dev"): ("flux-1-dev", 1024),
        ("flux", "jane/my-finetune"): ("flux-1", 1024),
        ("z-image", "z-image-turbo"): ("Z-Image", 1024),
        ("", "mini"): ("mini", 128),
    }
    for i, ((kind, backbone), expected) in enumerate(due.items()):
        known = known_as(make_space(tmp_path / str(i), FAMILIES[kind][0], count=1, backbone=backbone))
        assert (known.architecture, known.resolution) == expected and known.elsewhere == bool(kind)


def test_a_base_model_is_named_with_its_version() -> None:
    for name, preset in PRESETS.items():
        found = base_identity(name)
        assert "/" in found or found.startswith(f"{name}@")
        assert not preset.revision or COMMIT.fullmatch(preset.revision) is None or preset.revision[:12] in found
    assert base_identity("sdxl-dmd2").endswith("with tianweiy/DMD2:dmd2_sdxl_4step_unet_fp16.bin")
    assert re.fullmatch(r"mini@[0-9a-f]{16}", base_identity("mini"))


# ---- a file of a real run


@pytest.fixture(scope="module")
def run(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> SliderSpace:
    """The small run, one slider of it named."""
    folder = Path(shutil.copytree(finished, tmp_path_factory.mktemp("named") / "run"))
    found = Label(proposed="a hat", sentence="It wears a <b>hat</b>.", low="hair", high="hats", by="openai:m")
    propose(RunFolder(folder), {1: found}, "")
    os.utime(folder / "sliders.safetensors", (0, 86_400 * 365))
    return SliderSpace.load(folder, Speed(device="cpu"))


def test_a_file_tells_all_of_its_slider(run: SliderSpace, tmp_path: Path) -> None:
    path = export(run, tmp_path, unit=0.5)[1]
    metadata, notes, about = metadata_of(path), notes_of(path), load_file(path).about
    assert about is not None and about.base.startswith("local:velocity@")
    measured = Measures.read(RunFolder(run.folder).measures).sliders[1]
    said = metadata["modelspec.description"]
    assert "It wears a <b>hat</b>. The name is unsure." in said
    assert "Strength 1.0 is 0.5 natural units" in said and about.base in said
    assert measured.alignment is not None and f"alignment {measured.alignment:.2f}".replace("-", "−") in said
    assert measured.span is not None and None not in measured.span
    low, high = measured.span
    assert span(about) == ((low / 0.5, high / 0.5) if low < high else None), "in the file's own strengths"
    assert notes["preferred weight"] == weight(about) and notes["activation text"] == "a robot"
    assert notes["description"] == "It wears a <b>hat</b>." and notes["notes"] == said
    assert metadata["modelspec.date"] == "1971-01-01" and "a robot" in metadata["modelspec.usage_hint"]


def test_nothing_found_what_was_asked_for_or_a_control(run: SliderSpace, tmp_path: Path) -> None:
    """Nor a mix of them."""
    pairs = tuple(Pair(plus=word) for word in "abc")
    for changed, made in (({}, "found"), ({"control": "random"}, "trained"), ({"pairs": pairs}, "trained")):
        space = dataclasses.replace(run, settings=run.settings.model_copy(update=changed))
        [path] = export(space, tmp_path / "one", sliders=[0])
        for file in (path, export_mix(space, tmp_path / "mix", {0: 1.0})):
            assert f"“a robot”, {made} by SliderSpace" in metadata_of(file)["modelspec.description"]


def test_the_weight_to_begin_with_is_usable(run: SliderSpace, tmp_path: Path) -> None:
    about = load_file(export(run, tmp_path)[0]).about
    assert about is not None
    for ends, unit, due in (([-2, 0.5], 1.0, 0.5), ([-2, 3], 1.0, 1.0), ([-2, 3], 4.0, 0.75), ([0, 0], 1.0, 1.0)):
        one = about.model_copy(update={"unit": unit, "measures": {"span": ends}})
        assert weight(one) == due
    assert weight(about.model_copy(update={"measures": None})) == 1.0


def test_the_hash_is_that_of_the_values(run: SliderSpace, tmp_path: Path) -> None:
    path = export(run, tmp_path)[0]
    data = path.read_bytes()
    values = data[8 + int.from_bytes(data[:8], "little") :]
    digest = hashlib.sha256(values).hexdigest()
    assert metadata_of(path)["modelspec.hash_sha256"] == f"0x{digest}" and data[8:10] == b'{"'


def test_pictures_lie_beside_the_file_and_in_it(run: SliderSpace, tmp_path: Path) -> None:
    for path in export(run, tmp_path):
        metadata = metadata_of(path)
        kind, _, icon = metadata["modelspec.thumbnail"].partition(",")
        [cover] = json.loads(metadata["ssmd_cover_images"])
        with Image.open(path.with_suffix(".png")) as beside:
            shown = np.asarray(beside.convert("RGB"), dtype=float)
        inside = np.asarray(Image.open(io.BytesIO(base64.b64decode(cover))), dtype=float)
        small = Image.open(io.BytesIO(base64.b64decode(icon)))
        assert kind == "data:image/jpeg;base64" and small.size[0] == small.size[1] <= 256
        assert shown.shape == inside.shape and abs(shown - inside).mean() < 12 and shown.std() > 5
        assert shown.shape[1] == 3 * (32 + 2) - 2, "turned down, off and up"
        assert len(path.read_bytes()) < 200_000


def test_a_space_without_pictures_is_exported_without(tmp_path: Path) -> None:
    [path] = export(make_space(tmp_path / "run", FAMILIES["sd1"][0], count=1, backbone="sd15"), tmp_path / "lora")
    assert sorted(p.suffix for p in path.parent.iterdir()) == [".json", ".safetensors"]
    assert not {"modelspec.thumbnail", "ssmd_cover_images"} & metadata_of(path).keys()


def test_what_somebody_changed_beside_a_file_stays(run: SliderSpace, tmp_path: Path) -> None:
    """A picture of their own and notes edited in A1111, whose editor keeps entries that it does not know."""
    paths = export(run, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    Image.new("RGB", (8, 8), "red").save(paths[0].with_suffix(".png"))
    edited = {**notes_of(paths[0]), "preferred weight": 0.4}
    paths[0].with_suffix(".json").write_text(json.dumps(edited))
    export(run, tmp_path, unit=0.5)
    assert Image.open(paths[0].with_suffix(".png")).size == (8, 8) and notes_of(paths[0]) == edited
    assert notes_of(paths[1])["notes"] != json.loads(before[paths[1].with_suffix(".json")])["notes"], "ours follow"
    rename(RunFolder(run.folder), {k: f"name {k}" for k in range(2)})
    renamed = export(run, tmp_path)
    rename(RunFolder(run.folder), dict.fromkeys(range(2), ""))
    assert not paths[1].with_suffix(".png").exists() and not paths[1].with_suffix(".json").exists()
    assert paths[0].with_suffix(".png").exists() and notes_of(paths[0]) == edited, "nor are they removed"
    assert all(path.with_suffix(".png").exists() for path in renamed)


def test_a_persons_own_name_brings_no_sentence_of_a_machine(run: SliderSpace, tmp_path: Path) -> None:
    rename(RunFolder(run.folder), {1: "top hat"})
    path = export(run, tmp_path)[1]
    rename(RunFolder(run.folder), {1: ""})
    assert metadata_of(path)["modelspec.description"].startswith("Top hat.\n")


def test_the_command_says_where_files_are_of_no_use(run: SliderSpace, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["export", str(run.folder), "--out", str(tmp_path), "--sliders", "0", "--json"])
    assert ONLY_DIFFUSERS in done.stderr and len(json.loads(done.stdout)["files"]) == 1


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"[1]", b"{" * 100_000, b"\xff\xfe", b"null"], ids=repr)
def test_other_files_beside_it_are_left_alone(run: SliderSpace, tmp_path: Path, content: bytes) -> None:
    [path] = export(run, tmp_path, sliders=[0])
    for suffix in (".png", ".json"):
        path.with_suffix(suffix).write_bytes(content)
    export(run, tmp_path, sliders=[0])
    assert {path.with_suffix(suffix).read_bytes() for suffix in (".png", ".json")} == {content}


def test_hostile_prompts_stay_one_line_of_text(run: SliderSpace, tmp_path: Path) -> None:
    settings = run.settings.model_copy(update={"prompts": ("a\n“b” \udc80\u202e <script>{{x}}",)})
    [path] = export(dataclasses.replace(run, settings=settings), tmp_path, sliders=[0])
    for text in (*metadata_of(path).values(), *map(str, notes_of(path).values())):
        text.encode()
    assert "\n" not in metadata_of(path)["modelspec.title"] and "\u202e" not in notes_of(path)["notes"]
