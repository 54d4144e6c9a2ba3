"""The stored table of costs: what models were counted to cost, and what stands in for models that were not."""

import json
import shutil
from pathlib import Path

import costs as command
import pytest
from support.tiny import Tiny

from sliderspace.core.errors import BadInput
from sliderspace.core.settings import Settings, settings_from
from sliderspace.models.backbones import PRESETS
from sliderspace.models.configs import SHIPPED
from sliderspace.models.costs import Costs, costs_for, encoder_costs, preset_costs, table
from sliderspace.models.encoders import ENCODERS
from sliderspace.models.identity import weights_digest
from sliderspace.models.sources import resolve

PUBLISHED = {  # values of the denoiser; layers of the default targets
    "sd15": (859_520_964, 32),
    "sd21": (865_910_724, 32),
    "sdxl": (2_567_463_684, 140),
    "sdxl-dmd2": (2_567_463_684, 140),
    "sdxl-lcm": (2_567_463_684 + 256 * 320, 140),  # the projection of its guidance
    "flux-schnell": (11_891_178_560, 114),
    "flux-dev": (11_901_408_320, 114),
    "z-image-turbo": (6_154_908_736, 60),
    "z-image": (6_154_908_736, 60),
    "qwen-image": (20_430_401_088, 120),
    "flux2-klein": (3_875_544_576, 10),
    "flux2-klein-base-9b": (9_078_581_248, 16),
    "krea2": (12_820_073_036, 56),
}


def settings(backbone: str, **other: object) -> Settings:
    return settings_from({"prompts": ("a toy",), "backbone": backbone, **other})


def test_every_preset_and_encoder_has_been_counted() -> None:
    assert set(table()["models"]) == set(PRESETS)
    assert set(ENCODERS) < set(table()["encoders"])


@pytest.mark.parametrize("name", PUBLISHED)
def test_stored_sizes_are_the_published_ones(name: str) -> None:
    found = preset_costs(name)
    assert (found.denoiser.values, found.layers["cross-kv"].count) == PUBLISHED[name]


STORED = {  # of parts and whole files, as published
    ("sd15", "vae"): 83_653_863,
    ("sd21", "text_encoder"): 340_387_840,
    ("sdxl", "text_encoder"): 123_060_480,
    ("sdxl", "text_encoder_2"): 694_659_840,
    ("flux-schnell", "vae"): 83_819_683,
    ("flux-schnell", "text_encoder_2"): 4_762_310_656,
    ("z-image-turbo", "text_encoder"): 4_022_468_096,
    ("qwen-image", "vae"): 126_892_531,
    ("flux2-klein-9b", "text_encoder"): 8_190_735_360,
}


def test_stored_parts_are_the_published_ones() -> None:
    assert {key: preset_costs(key[0]).stored_values[key[1]] for key in STORED} == STORED
    assert (preset_costs("sdxl").decoder.values, preset_costs("flux-dev").decoder.values) == (2_445_063, 2_458_899)
    stored = {"clip": 427_616_513, "siglip": 203_155_970, "dinov2": 86_580_480}
    assert {name: encoder_costs(name).stored_values for name in stored} == stored


def test_rows_of_guidance_multiply_the_denoiser_and_nothing_else() -> None:
    plain, guided = (costs_for(settings("sdxl", guidance=g)) for g in (1.0, 5.0))
    assert guided.denoiser.tflop == pytest.approx(2 * plain.denoiser.tflop) and guided.decoder == plain.decoder
    told = [costs_for(settings("flux-dev", guidance=g)) for g in (1.0, 5.0)]
    assert told[0] == told[1]


def test_costs_follow_the_pixels() -> None:
    whole, quarter = (costs_for(settings("sdxl", resolution=n)) for n in (1024, 512))
    assert whole.denoiser.lane_gib == pytest.approx(4 * quarter.denoiser.lane_gib)
    assert quarter.latent_values == 4 * 64 * 64 and quarter.denoiser.values == whole.denoiser.values


def test_a_picture_costs_its_area_whatever_its_shape() -> None:
    square, wide = (costs_for(settings("sdxl", resolution=size)) for size in (1024, "2048x512"))
    assert (square.pixels, wide.pixels) == (1024, (2048, 512))
    assert wide.denoiser == square.denoiser and wide.latent_values == square.latent_values


def test_a_folder_is_like_a_preset_of_its_kind_with_its_own_sizes(tiny: Tiny) -> None:
    found = costs_for(settings(str(tiny.velocity)))
    assert found.counted_on in ("mini", "sd15", "sd21") and found.pixels == 32
    assert found.latent_values == json.loads((tiny.velocity / "unet/config.json").read_text())["sample_size"] ** 2 * 4
    assert found.layers["cross-kv"].count > 0
    assert 0 < found.denoiser.tflop < preset_costs("mini").denoiser.tflop


def test_text_encoders_of_a_folder_are_held_as_those_of_its_preset(tiny: Tiny) -> None:
    """Large ones in half precision: a copy of Qwen-Image on this disk needs no more than the preset."""

    def a_value(found: Costs) -> float:
        return found.text_gib / sum(n for part, n in found.stored_values.items() if part.startswith("text_encoder"))

    found = costs_for(settings(str(tiny.velocity)))
    assert a_value(found) == pytest.approx(a_value(preset_costs(found.counted_on)))
    qwen = preset_costs("qwen-image")
    assert a_value(qwen) * 2**30 < 2.5


def test_a_repository_costs_alike_before_and_after_it_is_fetched(tiny: Tiny, tmp_path: Path) -> None:
    """Measuring draws as many pictures as costs allow: the same command, given again, must not measure anew."""
    bare = shutil.copytree(tiny.velocity, tmp_path / "bare", ignore=shutil.ignore_patterns("*.safetensors"))
    before, after = (costs_for(settings(str(place))) for place in (bare, tiny.velocity))
    assert (before.pixels, before.latent_values) == (after.pixels, after.latent_values)
    assert before.decoder == before.own_decoder and after.decoder == after.own_decoder


def test_a_model_decodes_by_its_own_decoder_unless_a_small_one_is_named() -> None:
    places = ({"decoder": "auto"}, {"decoder": "madebyollin/taesdxl"})
    own, small = (costs_for(settings(str(SHIPPED / PRESETS["sdxl"].location), **place)) for place in places)
    preset = preset_costs("sdxl")
    assert (own.decoder, small.decoder) == (preset.own_decoder, preset.decoder)


def test_a_presets_repository_costs_what_the_preset_does() -> None:
    assert costs_for(settings(PRESETS["sdxl"].location)).decoder == preset_costs("sdxl").decoder


def test_a_model_of_pictures_that_are_not_square_costs_their_area(tiny: Tiny, tmp_path: Path) -> None:
    wide = Path(shutil.copytree(tiny.velocity, tmp_path / "wide"))
    said = json.loads((wide / "unet/config.json").read_text())
    (wide / "unet/config.json").write_text(json.dumps({**said, "sample_size": [8, 16]}))
    one, two = (costs_for(settings(str(place))) for place in (tiny.velocity, wide))
    assert two.pixels == (64, 32) and two.latent_values == 2 * one.latent_values
    assert two.denoiser.tflop == pytest.approx(2 * one.denoiser.tflop)


def test_the_shipped_folder_has_the_sizes_of_its_preset() -> None:
    """Read from the headers of its weights, and counted on the model without weights: the same."""
    read, counted = costs_for(settings(str(resolve(PRESETS["mini"].location)))), preset_costs("mini")
    assert (read.layers, read.stored_values) == (counted.layers, counted.stored_values)
    assert (read.pixels, read.latent_values) == (counted.pixels, counted.latent_values)


def test_an_encoder_without_a_name_costs_what_clip_does() -> None:
    assert encoder_costs("somebody/something") == encoder_costs("clip")


def test_an_encoder_folder_has_a_size_of_its_own(tiny: Tiny) -> None:
    found = encoder_costs(str(tiny.clip))
    assert 0 < found.part.values < 1e6 and found.part.tflop < 0.01 * encoder_costs("clip").part.tflop


def test_weights_that_cannot_be_read_are_named(tiny: Tiny, tmp_path: Path) -> None:
    """A folder of that name stands for a file that one may not read: root may read all."""
    folder = Path(shutil.copytree(tiny.velocity, tmp_path / "model"))
    weights = folder / "text_encoder" / "model.safetensors"
    weights.write_bytes(b"half")
    with pytest.raises(BadInput, match=r"text_encoder/model\.safetensors is no whole"):
        costs_for(settings(str(folder)))
    weights.unlink()
    weights.mkdir()
    for attempt in (
        lambda: costs_for(settings(str(folder))),
        lambda: encoder_costs(str(weights.parent)),
        lambda: weights_digest(folder),
    ):
        with pytest.raises(BadInput, match=r"cannot read .*text_encoder/model\.safetensors"):
            attempt()


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_counting_gives_what_is_stored(name: str) -> None:
    assert command.model_row(name) == table()["models"][name]


@pytest.mark.slow
def test_counting_encoders_gives_what_is_stored() -> None:
    for name, row in table()["encoders"].items():
        assert command.encoder_row(name) == row
