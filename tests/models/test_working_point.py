"""The working point: everything that decides an image, and everything that is wrong, before any weights are read."""

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny import Tiny
from support.tiny_unet import save_small_decoder

from sliderspace.core.errors import BadInput
from sliderspace.core.settings import Settings, Speed, settings_from
from sliderspace.models import identity
from sliderspace.models.backbones import PRESETS, families
from sliderspace.models.encoders import ENCODERS
from sliderspace.models.identity import source_identity, weights_digest
from sliderspace.models.load import backbone_at, backbone_for, encoder_at, load_backbone
from sliderspace.models.sources import is_repo
from sliderspace.models.working_point import WorkingPoint, check_settings, embedded_steps, point_for

CPU = torch.device("cpu")


def settings(tiny: Tiny, **changed: Any) -> Settings:
    values = {
        "prompts": ("a robot",),
        "backbone": str(tiny.velocity),
        "encoder": str(tiny.clip),
        "precision": "float32",
    }
    return settings_from({**values, "steps": 3, "guidance": 1.0, **changed})


@pytest.fixture
def weightless(tiny: Tiny, tmp_path: Path) -> Path:
    """A pipeline folder whose weights are gone: whoever reads them fails."""
    folder = tmp_path / "weightless"
    shutil.copytree(tiny.velocity, folder)
    for weights in folder.rglob("*.safetensors"):
        weights.write_bytes(b"")
    return folder


# ---- what it holds


def test_who_trains_does_not_judge() -> None:
    usual = point_for("mini-turbo", CPU)
    assert usual.judge and usual.encoder != usual.judge
    assert point_for("mini-turbo", CPU, encoder=usual.judge).judge == ""


def test_it_holds_what_the_loaded_model_has(tiny: Tiny) -> None:
    point = WorkingPoint.of(settings(tiny, embed=(0,)), CPU)
    backbone = backbone_at(point, device=CPU)
    assert (backbone.steps, backbone.guidance, backbone.dtype) == (point.steps, point.guidance, torch.float32)
    assert (backbone.latent_shape, backbone.image_size) == (point.latent_shape, point.image_size)
    assert backbone.schedule.time_T.tolist() == list(point.times) and backbone.identity == point.identity
    assert point.embed_T == (0, 2) and point.sampler == "ddim" and point.precision == "float32"
    assert point.encoder_identity == encoder_at(str(tiny.clip), device=CPU).identity


def test_no_weights_are_read_for_it(weightless: Path, tiny: Tiny) -> None:
    assert WorkingPoint.of(settings(tiny, backbone=str(weightless)), CPU).image_size == 32


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_has_one_without_a_network(name: str) -> None:
    """With the identity of a pinned commit, which is known before anything is fetched."""
    point, preset = WorkingPoint.of(Settings(prompts=("a toy",), backbone=name, decoder="full"), CPU), PRESETS[name]
    assert (point.steps, point.guidance, point.encoder) == (preset.steps, preset.guidance, preset.encoder)
    if preset.revision and not (preset.weights or preset.file):
        assert point.identity.startswith(f"{preset.location}@{preset.revision[:12]}/")
    if preset.encoder in ENCODERS:
        known = ENCODERS[preset.encoder]
        assert point.encoder_identity == f"{known.source}@{known.revision[:12]}"
    assert (point.judge_identity == "") == (not preset.judge)


def test_a_space_draws_without_its_encoder(tiny: Tiny, tmp_path: Path) -> None:
    backbone_for(settings(tiny, encoder=str(tmp_path / "gone")), Speed(device="cpu"))


# ---- what it refuses, at once


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a model by no name": ({"backbone": "nonesuch"}, "no backbone"),
    "a model's folder that is not there": ({"backbone": "./models"}, "no backbone './models'"),
    "a folder above that is not there": ({"backbone": "../x/models"}, "no backbone"),
    "an encoder's folder that is not there": ({"encoder": "./dino"}, "no encoder './dino'"),
    "an encoder of spaces": ({"encoder": " "}, "no encoder ' '"),
    "a decoder's folder that is not there": ({"decoder": "./taesd"}, "no decoder './taesd'"),
    "a decoder by no name": ({"decoder": "nosuch"}, "no decoder 'nosuch'"),
    "an empty decoder": ({"decoder": ""}, "decoder"),
    "no steps": ({"steps": 1001}, "steps: "),
    "steps without end": ({"steps": 2**64}, "steps: "),
    "pixels without end": ({"resolution": 2**64}, "resolution: "),
    "pixels between": ({"resolution": 33}, "--resolution 33: take a multiple of"),
    "infinite guidance": ({"guidance": float("inf")}, "guidance: "),
    "steps to embed that are none": ({"embed": (99,)}, "0 … 2"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_be_had_is_told_in_a_line(tiny: Tiny, what: str) -> None:
    changed, said = WRONG[what]
    with pytest.raises(BadInput) as told:
        WorkingPoint.of(settings(tiny, **changed), CPU)
    assert said in str(told.value) and len(str(told.value).splitlines()) <= 2


@pytest.mark.parametrize("guidance", [float("nan"), float("-inf"), -1.0])
def test_guidance_is_a_number_from_0(tiny: Tiny, guidance: float) -> None:
    with pytest.raises(BadInput, match="--guidance"):
        load_backbone(str(tiny.velocity), guidance=guidance, device="cpu")


@pytest.mark.parametrize("model", [name for name in PRESETS if not name.startswith(("mini", "sd"))])
def test_flow_models_refuse_the_same(model: str) -> None:
    for wrong in ({"steps": 2**64}, {"resolution": 2**64}, {"resolution": 1001}, {"guidance": float("inf")}):
        with pytest.raises(BadInput, match=f"--{next(iter(wrong))}"):
            point_for(model, CPU, **wrong)


def test_bits_without_their_library_or_for_replaced_weights(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sliderspace.models.working_point.find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"sliderspace\[quantize\]"):
        WorkingPoint.of(settings(tiny, quantize="4bit"), CPU)
    with pytest.raises(BadInput, match="leave --quantize out"):
        point_for("sdxl-dmd2", CPU, quantize="4bit")


def test_a_decoder_of_another_kind_or_another_models(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is a AutoencoderKL"):
        WorkingPoint.of(settings(tiny, decoder=str(tiny.velocity / "vae")), CPU)
    folder = save_small_decoder(tmp_path / "decoder")
    assert WorkingPoint.of(settings(tiny, decoder=str(folder)), CPU).decoder == str(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "latent_channels": 16}))
    with pytest.raises(BadInput, match="reads latents of 16 channels"):
        WorkingPoint.of(settings(tiny, decoder=str(folder)), CPU)


@pytest.mark.parametrize("model", ["qwen-image", "krea2"])
def test_a_small_decoder_where_none_can_read_the_latents(model: str) -> None:
    """As many channels as FLUX, which are not its channels."""
    assert point_for(model, CPU, decoder="full").decoder == ""
    with pytest.raises(BadInput, match=f"reads the latents of {model}"):
        point_for(model, CPU, decoder="madebyollin/taef1")


def _no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _another_kind(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "bert"}')


@pytest.mark.parametrize("spoil", [_no_weights, _another_kind])
def test_an_encoder_that_cannot_be_one(tiny: Tiny, tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    folder = tmp_path / "encoder"
    shutil.copytree(tiny.clip, folder)
    spoil(folder)
    with pytest.raises(BadInput, match="encoder"):
        WorkingPoint.of(settings(tiny, encoder=str(folder)), CPU)


def test_a_pipeline_that_lacks_a_part(weightless: Path, tiny: Tiny) -> None:
    (weightless / "text_encoder" / "config.json").unlink()
    with pytest.raises(BadInput, match=r"lacks text_encoder/config\.json"):
        WorkingPoint.of(settings(tiny, backbone=str(weightless)), CPU)


@pytest.mark.parametrize("location", ["./models", "../models", ".hidden/models", "./a", "models", "/a/b", "a/b/c", ""])
def test_paths_are_no_repositories(location: str) -> None:
    assert not is_repo(location) and is_repo("owner/name") and is_repo("owner/na-me.1@refs/pr/1")


def test_embedded_steps() -> None:
    assert embedded_steps("final", 4) == (3,) and embedded_steps((2, 0, 2), 4) == (0, 2, 3)


@pytest.mark.parametrize(
    ("name", "since", "before"), [("flux2-klein", "0.37", "0.36.2"), ("krea2", "0.39", "0.38.0"), ("z-image", "", "")]
)
def test_a_model_that_diffusers_has_not_yet_is_refused_with_the_version_it_needs(
    monkeypatch: pytest.MonkeyPatch, name: str, since: str, before: str
) -> None:
    asked = settings_from({"prompts": ("a robot",), "backbone": name})
    check_settings(asked)
    monkeypatch.setattr(families, "version", lambda _: before or "0.36.0")
    if since:
        with pytest.raises(BadInput, match=rf"needs diffusers {since} or newer: pip install -U diffusers"):
            check_settings(asked)
    monkeypatch.setattr(families, "version", lambda _: f"{since or '0.36'}.0")
    check_settings(asked)


# ---- identities


def test_what_decides_the_image_decides_the_identity(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"steps": 4},
        {"guidance": 2.0},
        {"resolution": 64},
        {"resolution": "64x32"},
        {"resolution": "32x64"},
        {"backbone": str(tiny.noise)},
        {"decoder": str(save_small_decoder(tmp_path / "decoder"))},
    ]
    said = [WorkingPoint.of(settings(tiny, **changed), CPU).identity for changed in changes]
    assert "/64 px/" in said[3] and "/64x32 px/" in said[4]
    monkeypatch.setattr("sliderspace.models.device.computes_bf16", lambda device: True)
    said += [WorkingPoint.of(settings(tiny, precision=p), CPU).identity for p in ("auto", "bfloat16")]
    assert len(set(said)) == len(changes) + 1, "what auto has become is said, not that it was asked for"


def test_sampler_times_and_spacing_are_part_of_the_identity(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    def said(**changed: Any) -> str:
        preset = replace(PRESETS["mini"], location=str(tiny.noise), decoder="", **changed)
        monkeypatch.setitem(PRESETS, "changed", preset)
        return point_for("changed", CPU, steps=3).identity

    changes = [{}, {"sampler": "euler"}, {"spacing": "trailing"}, {"sampler": "lcm"}]
    changes.append({"sampler": "lcm", "timesteps": (999, 500, 1)})
    assert len({said(**changed) for changed in changes}) == len(changes)


def test_replaced_weights_are_known_by_their_contents(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    file = tmp_path / "unet.safetensors"
    file.write_bytes(b"one")
    monkeypatch.setitem(
        PRESETS, "changed", replace(PRESETS["mini"], location=str(tiny.noise), decoder="", weights=str(file))
    )
    before = point_for("changed", CPU).identity
    assert point_for("changed", CPU).identity == before
    file.write_bytes(b"two")
    assert point_for("changed", CPU).identity != before


def test_replaced_weights_of_a_repository_are_known_by_its_commit(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    home, said = tmp_path / "models--someone--weights", []
    (home / "refs").mkdir(parents=True)
    monkeypatch.setitem(
        PRESETS,
        "changed",
        replace(PRESETS["mini"], location=str(tiny.noise), decoder="", weights="someone/weights:a.safetensors"),
    )
    for commit in ("a" * 40, "b" * 40):
        (home / "snapshots" / commit).mkdir(parents=True)
        (home / "refs" / "main").write_text(commit)
        said.append(point_for("changed", CPU).identity)
    assert "someone/weights@aaaaaaaaaaaa:a.safetensors" in said[0] and "weights@bbbbbbbbbbbb" in said[1]


def test_an_encoder_or_judge_beside_the_parts_is_no_part_of_the_model(tiny: Tiny, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny.velocity, folder)
    before = weights_digest(folder)
    shutil.copytree(tiny.clip, folder / "judge")
    (folder / "README.txt").write_text("mine")
    assert weights_digest(folder) == before == weights_digest(tiny.velocity)
    part = folder / "scheduler" / "scheduler_config.json"
    part.write_text(part.read_text().replace("0.012", "0.013") + " ")
    assert weights_digest(folder) != before


def test_a_folders_digest_is_remembered_until_a_file_changes(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.utils._cache_assets.HF_ASSETS_CACHE", str(tmp_path / "cache"))
    folder, read = tmp_path / "encoder", []
    shutil.copytree(tiny.clip, folder)
    weights, hours_ago = folder / "model.safetensors", time.time() - 10_000
    for file in folder.rglob("*"):
        os.utime(file, (hours_ago, hours_ago))
    count, plain = read.append, identity.hashlib.file_digest
    monkeypatch.setattr(identity.hashlib, "file_digest", lambda *a: count(1) or plain(*a))
    before = weights_digest(folder)
    first = len(read)
    assert weights_digest(folder) == before and len(read) == first > 0, "the second time no file is read"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    assert weights_digest(folder) != before and len(read) > first


def test_where_nothing_can_be_remembered_it_is_computed(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "encoder"
    shutil.copytree(tiny.clip, folder)
    for file in folder.rglob("*"):
        os.utime(file, (1e9, 1e9))
    (tmp_path / "cache").write_text("a file is in the way")
    monkeypatch.setattr("huggingface_hub.utils._cache_assets.HF_ASSETS_CACHE", str(tmp_path / "cache"))
    assert weights_digest(folder) == weights_digest(tiny.clip) == source_identity(str(folder))


# ---- words


@pytest.mark.parametrize("prompt", PRESETS["mini"].examples)
def test_the_miniature_knows_the_words_of_its_examples(prompt: str) -> None:
    assert PRESETS["mini"].unknown_words(prompt) == ()


def test_words_that_mean_nothing_to_a_model_are_named_once() -> None:
    mini = PRESETS["mini"]
    assert mini.unknown_words("a spaceship, a Spaceship with monsters") == ("spaceship",)
    assert mini.unknown_words("ein Roboter") == ("ein", "roboter") and mini.unknown_words("机器人") == ("机器人",)
    assert PRESETS["sdxl"].unknown_words("ein Raumschiff") == ()


def test_every_word_of_the_model_card_is_known() -> None:
    table = (Path(__file__).parents[2] / "docs" / "miniature.md").read_text()
    rows = [line.split("|")[2] for line in table.splitlines() if line.startswith("| ")]
    first = next(i for i, row in enumerate(rows) if row.strip() == "words")
    for row in rows[first + 1 : first + 10]:
        assert PRESETS["mini"].unknown_words(row) == (), row
