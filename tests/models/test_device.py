"""Devices and precisions: bfloat16 only where the hardware computes in it; loading leaves no switch turned."""

from contextlib import suppress

import pytest
import torch

from sliderspace.core.errors import BadInput
from sliderspace.models import device as module
from sliderspace.models.device import device_for, precision_for
from sliderspace.models.quiet import quiet_loading

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", ["meta", "warp-drive", "", "cpu:x", "vulkan", "hpu"])
def test_devices_that_cannot_compute(name: str) -> None:
    with pytest.raises(BadInput, match="use auto, cpu, cuda or cuda:1"):
        device_for(name)


@pytest.mark.parametrize("has_it", [True, False])
def test_bfloat16_is_chosen_where_there_are_instructions_for_it(monkeypatch: pytest.MonkeyPatch, has_it: bool) -> None:
    monkeypatch.setattr(module, "computes_bf16", lambda device: has_it)
    assert precision_for(CPU, "auto") == (torch.bfloat16 if has_it else torch.float32)
    assert precision_for(CPU, "float32") == torch.float32


def test_bfloat16_is_refused_where_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    with pytest.raises(BadInput, match="--precision float32"):
        precision_for(CPU, "bfloat16")


def test_a_card_that_is_only_planned_for_computes_in_bfloat16() -> None:
    if not torch.cuda.is_available():
        assert precision_for(torch.device("cuda"), "auto") == torch.bfloat16


def test_loading_quietly_leaves_the_libraries_as_they_were() -> None:
    from diffusers.utils import logging as diffusers_logging
    from huggingface_hub.utils import are_progress_bars_disabled
    from transformers.utils import logging as transformers_logging

    def state() -> list[object]:
        libraries = (diffusers_logging, transformers_logging)
        found = [(lib.get_verbosity(), lib.is_progress_bar_enabled()) for lib in libraries]
        return [*found, are_progress_bars_disabled()]

    before, within = state(), []
    diffusers_logging.set_verbosity_info()
    changed = state()
    try:
        with suppress(KeyError), quiet_loading():
            within = state()
            raise KeyError
        assert within == [(diffusers_logging.ERROR, False), (diffusers_logging.ERROR, False), True]
        assert state() == changed
    finally:
        diffusers_logging.set_verbosity(before[0][0])  # type: ignore[index]
