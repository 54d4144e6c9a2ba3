"""Settings: what cannot be is refused by name, with its range, before anything is loaded."""

import json
from typing import Any

import pytest

from sliderspace.core.errors import BadInput
from sliderspace.core.recipes import recipe
from sliderspace.core.settings import Measuring, Settings, Speed, WrongValues, checked, settings_from

ROBOT = {"prompts": ("a robot",)}
NUMBERS = [
    (model, name)
    for model in (Settings, Speed)
    for name, field in model.model_fields.items()
    if field.annotation in (int, float, int | None, float | None)
]


@pytest.mark.parametrize(("model", "name"), NUMBERS)
@pytest.mark.parametrize("value", [2**64, -(2**64), 1e99, -1, float("inf"), float("nan"), "many", [1], {}])
def test_no_number_is_without_bounds(model: type[Settings] | type[Speed], name: str, value: object) -> None:
    values = ROBOT if model is Settings else {}
    with pytest.raises(BadInput, match=f"^{name}: .*not ") as refusal:
        checked(model, {**values, name: value})
    assert len(str(refusal.value)) < 160 and "\n" not in str(refusal.value)


def test_a_refusal_names_every_wrong_field_and_its_value() -> None:
    with pytest.raises(WrongValues) as refusal:
        settings_from({**ROBOT, "lr": 1e99, "targets": "\x1b[2J", "nonsense": 1})
    assert [field for field, _ in refusal.value.wrong] == ["targets", "lr", "nonsense"]
    assert "lr: should be less than or equal to 1, not 1e+99" in str(refusal.value)
    assert "\x1b" not in str(refusal.value)


@pytest.mark.parametrize(
    ("typed", "steps"),
    [("all", "all"), ("final", "final"), ("3,5,7", (3, 5, 7)), (" 3, 5", (3, 5)), ((0,), (0,)), ([1, 2], (1, 2))],
)
def test_steps_to_embed(typed: object, steps: object) -> None:
    assert settings_from({**ROBOT, "embed": typed}).embed == steps


@pytest.mark.parametrize("typed", ["", "late", "1,,2", "-1", "1.5", "²", (), (1.5,), (-1,), (True,), 3, None, {"all"}])
def test_steps_to_embed_that_are_none(typed: object) -> None:
    with pytest.raises(BadInput, match=r"^embed: .* is neither all, final, nor a list of steps such as 3,5,7$"):
        settings_from({**ROBOT, "embed": typed})


@pytest.mark.parametrize(
    ("typed", "size"),
    [(None, None), (64, 64), ("64", 64), ("64x64", 64), ([64, 64], 64), ("96x64", (96, 64)), ([96, 64], (96, 64))],
)
def test_sizes_of_pictures(typed: object, size: object) -> None:
    found = settings_from({**ROBOT, "resolution": typed})
    assert found.resolution == size and Settings.model_validate_json(found.model_dump_json()) == found


@pytest.mark.parametrize("typed", [7, 8193, 64.0, True, "64x", "x64", "64x7", "wide", "-64", [64], [64, 64, 64], {}])
def test_sizes_that_are_none(typed: object) -> None:
    with pytest.raises(BadInput, match=r"resolution: .* is no size: write 1024, or 1216x832"):
        settings_from({**ROBOT, "resolution": typed})


def test_steps_to_embed_are_known_to_be_beyond_the_last_where_the_steps_are_said() -> None:
    with pytest.raises(BadInput, match=r"^embed: there are steps 0 … 7"):
        settings_from({**ROBOT, "steps": 8, "embed": "3,99"})
    assert settings_from({**ROBOT, "embed": "3,99"}).embed == (3, 99), "else the model has to say"


def test_how_many_sliders_samples_carry_is_asked_where_it_matters() -> None:
    few = settings_from({**ROBOT, "samples": 10})
    assert few.sliders == 16
    with pytest.raises(BadInput, match="10 samples carry at most 9 sliders"):
        few.check_carried()
    nine = settings_from({**ROBOT, "samples": 10, "sliders": 9})
    assert nine.check_carried() is nine


@pytest.mark.parametrize("prompt", ["", " ", "\u200b", "\u2060\ufeff \x00"])
def test_a_prompt_that_shows_nothing_is_none(prompt: str) -> None:
    with pytest.raises(BadInput, match="the prompt is empty"):
        settings_from({"prompts": ("a robot", prompt)})


def test_a_prompt_of_another_encoding_is_refused() -> None:
    """A terminal of Latin-1 types é as a byte that is no UTF-8; Python keeps it as half of a pair."""
    with pytest.raises(BadInput, match="not text in UTF-8"):
        settings_from({"prompts": (b"a \xe9 robot".decode(errors="surrogateescape"),)})


@pytest.mark.parametrize("device", ["meta", "warp", "", "cuda:", "cuda:x", "cpu; rm", "cuda:-1"])
def test_devices_that_are_none(device: str) -> None:
    with pytest.raises(BadInput, match=r"^device: .* is no device"):
        checked(Speed, {"device": device})


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:1", "mps"])
def test_devices(device: str) -> None:
    assert checked(Speed, {"device": device}).device == device


def test_settings_survive_being_stored() -> None:
    chosen = settings_from({**ROBOT, "embed": "1,2", "seed": 2**63 - 1, "lr": 1e-12})
    assert settings_from(json.loads(json.dumps(chosen.model_dump(mode="json")))) == chosen


def test_recipes() -> None:
    assert recipe("") == {} and settings_from({**ROBOT, **recipe("paper")}).objective == "published"
    default: dict[str, Any] = {**ROBOT, **recipe("default")}
    assert settings_from(default) == settings_from(dict(ROBOT))
    with pytest.raises(BadInput, match="no recipe 'best': choose default or paper"):
        recipe("best")


def test_how_many_images_are_measured() -> None:
    assert Measuring().images(0) == 6 + 16 + 32 + 8
    assert Measuring().images(16) - Measuring().images(15) == 2 * (3 * 6 + 3 * 16)


@pytest.mark.parametrize(
    ("name", "said"),
    [("device", r"speed=Speed\(device=…\)"), ("slider", "did you mean sliders"), ("zzz", "no such setting$")],
)
def test_a_name_that_is_no_setting_leads_to_what_was_meant(name: str, said: str) -> None:
    with pytest.raises(BadInput, match=f"{name}: .*{said}"):
        settings_from({"prompts": ("a toy",), name: 1})
