"""Where models come from: what is fetched of a repository, and what a long download shows."""

import io
import time

import pytest
from support.hub import Hub
from support.tiny import Tiny

from sliderspace.models import sources
from sliderspace.models.backbones import PRESETS
from sliderspace.models.backbones.presets import preset_for


def test_of_an_unknown_repository_one_set_of_weights_is_fetched(hub: type[Hub], tiny: Tiny) -> None:
    """Many hold two precisions, and a second average, beside each other."""
    files = {f.relative_to(tiny.velocity).as_posix(): f.read_bytes() for f in tiny.velocity.rglob("*") if f.is_file()}
    weights = {name for name in files if name.endswith(".safetensors")}
    more = {
        name.replace(".safetensors", f".{other}.safetensors"): b"" for name in weights for other in ("fp16", "non_ema")
    }
    hub.repos["jane/model"] = files | more
    fetched = preset_for("jane/model").folder
    assert {f.relative_to(fetched).as_posix() for f in fetched.rglob("*.safetensors")} == weights
    half = {name: data for name, data in hub.repos["jane/model"].items() if name not in weights}
    hub.repos["jane/half"] = {name: data for name, data in half.items() if "non_ema" not in name}
    fetched = preset_for("jane/half").folder
    assert {f.name.split(".")[1] for f in fetched.rglob("*.safetensors")} == {"fp16"}


def test_a_repository_that_cannot_be_asked_has_no_names(hub: type[Hub]) -> None:
    assert sources.names_in("jane/nothing") == sources.names_in("jane/broken") == ()


def test_a_presets_repository_is_that_preset() -> None:
    turbo, sdxl = PRESETS["sdxl-turbo"], PRESETS["sdxl"]
    assert preset_for(turbo.location) == turbo and preset_for(turbo.location).steps == 4
    assert preset_for(sdxl.location.lower()) == sdxl, "and not SDXL-DMD2, which puts other weights there"
    assert preset_for(f"{sdxl.location}@main").revision == "main"


def test_a_bar_is_shown_for_what_takes_longer_than_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    for after in (3600.0, 0.01):
        monkeypatch.setattr(sources, "BAR_AFTER", after)
        out = io.StringIO()
        with sources._download_bar()(total=4, unit="B", unit_scale=True, file=out) as bar:
            time.sleep(0.05)
            bar.update(2)
            bar.set_description("half of it")
        shown.append(out.getvalue().strip())
    assert shown[0] == "" and "2.00/4.00" in shown[1]


def test_none_is_shown_where_the_user_has_switched_them_off(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    monkeypatch.setattr(sources, "BAR_AFTER", 0.001)
    assert not are_progress_bars_disabled()
    disable_progress_bars()
    try:
        out = io.StringIO()
        with sources._download_bar()(total=4, file=out) as bar:
            bar.update(4)
        assert out.getvalue() == ""
    finally:
        enable_progress_bars()
