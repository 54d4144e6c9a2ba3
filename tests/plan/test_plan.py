"""The plan of a discovery: what the large presets are said to take, and what is said where something does not fit."""

import json
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.tiny import Tiny

from sliderspace.cli.plan_text import print_plan
from sliderspace.core.errors import BadInput
from sliderspace.core.settings import Measuring, Settings, Speed, settings_from
from sliderspace.method.measuring import measuring_for
from sliderspace.models import device, working_point
from sliderspace.models.backbones import PRESETS
from sliderspace.models.configs import SHIPPED, configs_of
from sliderspace.plan import plan as planning
from sliderspace.plan.card import Card
from sliderspace.plan.fit import fit_to_card, measured_fit, too_small
from sliderspace.plan.plan import Plan, plan_for

SDXL = "stabilityai/stable-diffusion-xl-base-1.0"
PAGE = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
PLANNED = re.findall(r"^\| (`.+?) \| .+ \| (.+?) \| (.+?) / (.+?) / (.+?) \| (\d+), (\d+) \|$", PAGE, re.MULTILINE)


def settings(backbone: str, **other: object) -> Settings:
    return settings_from({"prompts": ("a toy",), "backbone": backbone, **other})


@pytest.fixture(scope="module")
def sdxl() -> Plan:
    return plan_for(
        settings("sdxl-dmd2", up="frozen", targets="cross-kv", sliders=32, samples=5000), Speed(), memory_gb=24
    )


def test_sdxl_on_a_card_of_24_gb(sdxl: Plan) -> None:
    assert (sdxl.sliders.layers, sdxl.sliders.trained_values) == (140, 286_720)  # the paper's, by the authors' code
    assert sdxl.model.parameters == 2_567_463_684
    assert sdxl.chosen is not None and sdxl.chosen.quantize == "none" and not sdxl.chosen.checkpointing
    whole, checkpointed = sdxl.options
    assert 2.5 * checkpointed.lane_gib < whole.lane_gib and checkpointed.update_tflop > 1.2 * whole.update_tflop
    assert sdxl.chosen.stays_gib + sdxl.lanes * whole.lane_gib < 24
    fetched = {d.source: d.gb for d in sdxl.downloads}
    assert fetched["tianweiy/DMD2"] == pytest.approx(5.135, abs=0.001)
    assert fetched["openai/clip-vit-large-patch14"] == pytest.approx(1.710, abs=0.001)
    assert fetched[SDXL] == pytest.approx(1.803, abs=0.001)  # two text encoders and the autoencoder, half size
    assert sdxl.work.slider_updates == 32 * 200 and sdxl.work.embedded == 4


def test_time_is_of_the_published_order(sdxl: Plan) -> None:
    """The paper: 32 sliders in under 90 minutes on a card of about the assumed rate. Their training is as long as ours
    here."""
    assert 0.3 < sdxl.hours["sample"] + sdxl.hours["train"] < 2.5


def test_flux_whole_does_not_fit_24_gb_and_the_flags_that_would_are_named() -> None:
    plan = plan_for(settings("flux-schnell"), Speed(), memory_gb=24)
    assert plan.chosen is None and plan.instead is not None and plan.model.pixels == 1024
    assert plan.instead.stays_gib + 1 + plan.lanes * plan.instead.lane_gib <= 24
    assert plan.text_encoders_gib < 24
    assert plan.flags()[-3:] == ["--checkpointing", "--quantize", "4bit"]
    assert "--quantize 4bit --checkpointing" in str(too_small(plan))
    asked = plan_for(settings("flux-schnell", quantize="4bit"), Speed(), memory_gb=24)
    assert asked.chosen is not None and asked.chosen.checkpointing


@pytest.mark.parametrize("name", [name for name in PRESETS if not name.startswith("mini")])
def test_measuring_takes_at_most_a_third_of_every_large_preset(name: str) -> None:
    plan = plan_for(settings(name), Speed(), memory_gb=24)
    assert 3 * plan.hours["measure"] <= 1.001 * sum(plan.hours.values())
    assert plan.measuring.calibration_seeds >= 3 and plan.measuring.seeds >= 6
    assert plan.measuring == measuring_for(settings(name))


@pytest.mark.parametrize("name", ["mini", "mini-turbo"])
def test_the_shipped_models_are_measured_in_full(name: str) -> None:
    assert measuring_for(settings(name)) == Measuring()


@pytest.fixture
def sdxl_repository(tmp_path: Path) -> Path:
    """SDXL's configurations."""
    return Path(shutil.copytree(SHIPPED / SDXL, tmp_path / "sdxl"))


@pytest.fixture
def tiny_plan(tiny: Tiny) -> Callable[..., Plan]:
    return partial(_plan, tiny)


def tiny_settings(tiny: Tiny, **other: Any) -> Settings:
    return settings(str(tiny.velocity), **{"encoder": str(tiny.clip), "steps": 2, **other})


def _plan(tiny: Tiny, memory_gb: float | None = None, speed: Speed | None = None, **other: Any) -> Plan:
    return plan_for(tiny_settings(tiny, **other), speed or Speed(), memory_gb=memory_gb)


def test_a_plan_is_plain_data_and_plain_text(
    tiny_plan: Callable[..., Plan], capsys: pytest.CaptureFixture[str]
) -> None:
    plan = tiny_plan(memory_gb=2)
    told = json.loads(json.dumps(plan.as_dict()))
    assert told["options"][0]["lanes"] > 0 and told["flags"] == ["--lanes", "16", "--batch", "64"]
    assert told["measuring"]["seeds"] == 16
    print_plan(plan)
    lines = capsys.readouterr().out.splitlines()
    headings = [line.split()[0] for line in lines if not line.startswith(" ")]
    assert headings == ["Plan", "Model", "Fetch", "Sliders", "Work", "Memory", "Run", "Disk", "Time", "How"]
    assert "nothing" in next(line for line in lines if line.startswith("Fetch"))


def test_fewer_pictures_than_usual_are_said_with_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    print_plan(plan_for(settings("flux-dev"), Speed(), memory_gb=24))
    assert "images are dear here" in capsys.readouterr().out


def test_what_does_not_fit_says_how_much_it_needs(
    tiny_plan: Callable[..., Plan], capsys: pytest.CaptureFixture[str]
) -> None:
    plan = tiny_plan(memory_gb=0.9)  # less than is kept for the driver
    assert plan.chosen is None and plan.lanes == 0 and plan.as_dict()["flags"] is None
    with pytest.raises(ValueError, match="nothing fits"):
        plan.flags()
    print_plan(plan)
    assert "does not fit: at least 1.0 GB" in capsys.readouterr().out


def test_what_was_asked_for_is_kept(tiny_plan: Callable[..., Plan]) -> None:
    plan = tiny_plan(memory_gb=4, quantize="8bit", speed=Speed(checkpointing=True, lanes=2, batch=3))
    assert [(o.quantize, o.checkpointing) for o in plan.options] == [("8bit", True)]
    assert plan.flags() == ["--lanes", "2", "--batch", "3", "--checkpointing", "--quantize", "8bit"]


def test_on_the_processor_nothing_is_quantised(tiny_plan: Callable[..., Plan]) -> None:
    plan = tiny_plan(speed=Speed(device="cpu"))
    assert not plan.card.cuda and {o.quantize for o in plan.options} == {"none"}
    assert plan.chosen is not None


@pytest.mark.parametrize("word", ["dtype", "torch_dtype"])
def test_half_precision_is_fetched_as_such(sdxl_repository: Path, monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    """Both words that transformers has had for it."""
    said = sdxl_repository / "text_encoder" / "config.json"
    config = {key: value for key, value in json.loads(said.read_text()).items() if key != "torch_dtype"}
    said.write_text(json.dumps({**config, word: "float16"}))
    monkeypatch.setattr(planning, "configs_of", lambda place: sdxl_repository if place == SDXL else configs_of(place))
    fetched = {d.source: d.gb for d in plan_for(settings(SDXL), Speed(), memory_gb=24).downloads}
    assert fetched[SDXL] == pytest.approx(6.94, abs=0.05)


def test_a_card_without_bfloat16_is_planned_in_float32(
    tiny_plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a discovery computes there; a card of some size that is elsewhere is a newer one."""
    monkeypatch.setattr(planning, "card_for", lambda *_: Card("an old card", 16.0, 1e13, cuda=True))
    monkeypatch.setattr(device, "computes_bf16", lambda _: False)
    assert tiny_plan(memory_gb=None).model.precision == "float32"
    assert tiny_plan(memory_gb=16).model.precision == "bfloat16"


def test_the_shipped_model_has_a_plan() -> None:
    plan = plan_for(settings("mini", targets="cross-kv"), Speed(), memory_gb=24)
    assert plan.downloads == () and plan.lanes == 16
    assert plan.disk_gb == pytest.approx(1062 * 8 * (2 * 32 * 64 + 4 * 64) / 1e9, rel=0.1)


@pytest.mark.parametrize("row", PLANNED, ids=lambda row: row[0])
def test_the_page_of_models_says_what_is_planned(row: tuple[str, ...]) -> None:
    named, how, *said = row
    first = named.split(",")[0].strip("`")
    pixels = re.search(r"at (\d+) pixels", how)
    asked = settings(first, resolution=int(pixels[1])) if pixels else settings(first)
    plan = plan_for(asked, Speed(), memory_gb=24)
    hours, seeds = said[:3], said[3:]
    assert [float(h) for h in hours] == pytest.approx(list(plan.hours.values()), rel=0.025)
    assert [int(n) for n in seeds] == [plan.measuring.calibration_seeds, plan.measuring.seeds]


def test_the_page_of_models_has_every_family() -> None:
    assert len(PLANNED) == 18


@pytest.mark.parametrize("wrong", [{"backbone": "nothing"}, {"encoder": "/no/dino"}, {"decoder": "/no/taesd"}])
def test_what_is_not_there_is_an_error(wrong: dict[str, str]) -> None:
    with pytest.raises(BadInput, match=r"no (backbone|encoder|decoder)"):
        plan_for(settings(**{"backbone": "mini", **wrong}), Speed())


REFUSED: dict[str, tuple[dict[str, Any], str]] = {  # what a discovery refuses -> in the same words
    "a step there is not": ({"embed": "99"}, "steps to embed are 0"),
    "an encoder's folder without one": ({"encoder": "{folder}"}, r"(no encoder|lacks|config\.json)"),
    "an encoder's folder that is not there": ({"encoder": "./dino"}, "no encoder './dino'.*\n.*folder of a model"),
    "a decoder's folder that is not there": ({"decoder": "./taesd"}, "no decoder './taesd'.*AutoencoderTiny"),
    "bits of a base whose weights are replaced": ({"backbone": "sdxl-dmd2", "quantize": "4bit"}, "leave --quantize"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_discovery_refuses_has_no_plan(case: str, tmp_path: Path) -> None:
    values, words = REFUSED[case]
    given = {k: v.format(folder=tmp_path) for k, v in values.items()}
    for memory_gb in (None, 24):
        with pytest.raises(BadInput, match=words):
            plan_for(settings(**{"backbone": "mini", **given}), Speed(device="cpu"), memory_gb=memory_gb)


def test_a_base_in_4_bits_is_planned_without_the_library_for_another_machine_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(working_point, "find_spec", lambda _: None)
    asked = settings("flux-schnell", quantize="4bit")
    with pytest.raises(BadInput, match="pip install"):
        plan_for(asked, Speed())
    assert plan_for(asked, Speed(), memory_gb=24).chosen is not None


def test_a_dry_run_takes_seconds_and_loads_no_library_of_models(tmp_path: Path) -> None:
    """Five seconds of a laptop's processor at most; most of this is importing torch."""
    script = (
        "import sys\n"
        "from sliderspace.cli import app\n"
        "try: app(['discover', 'a toy', '--backbone', 'flux-dev', '--dry-run', '--json', '--out', sys.argv[1]])\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "print(sorted({'diffusers', 'transformers'} & set(sys.modules)), file=sys.stderr)\n"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-c", script, str(tmp_path / "run")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, text=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["backbone"] == "flux-dev" and not (tmp_path / "run").exists()
    assert done.stderr.strip().endswith("[]")
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 5


# ---- fitting a card by one lane of the real models


def test_on_a_processor_the_speed_stays_as_it_is(tiny: Tiny) -> None:
    assert fit_to_card(tiny_settings(tiny), Speed(device="cpu")) == Speed(device="cpu")


def test_lanes_follow_from_one_measured_lane(tiny: Tiny) -> None:
    chosen = tiny_settings(tiny, precision="float32", sliders=64)
    speed = Speed(device="cpu", lanes=64)
    roomy, tight = (measured_fit(chosen, speed, gib) for gib in (2.0, 1.004))
    assert roomy is not None and (roomy.lanes, roomy.checkpointing) == (64, False)
    assert tight is not None and 1 <= tight.lanes < 64


def test_what_no_lane_fits_beside_is_none(tiny: Tiny) -> None:
    assert measured_fit(tiny_settings(tiny), Speed(device="cpu"), 1.0) is None
