"""Every family's networks as compiled programs: the same values, and nothing left out of them."""

from functools import partial
from pathlib import Path

import pytest
import torch
from support.tiny import Tiny
from support.tiny_flow import save_flux, save_zimage
from support.tiny_today import save_flux2, save_krea2, save_qwen_image, save_sd3
from support.tiny_unet import save_sdxl
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

from sliderspace.method.objective import Recipe
from sliderspace.method.sliders import SliderBank
from sliderspace.models.encoders import find_encoder, load_encoder
from sliderspace.models.load import load_backbone
from sliderspace.plan.one_lane import lanes_of, objective_for

SAVED = {
    "sdxl": save_sdxl,
    "flux": partial(save_flux, dev=True),
    "zimage": save_zimage,
    "sd3": save_sd3,
    "qwen-image": save_qwen_image,
    "flux2": save_flux2,
    "krea2": partial(save_krea2, distilled=False),
}


@pytest.mark.families
@pytest.mark.parametrize(
    ("family", "checkpointing"),
    [*((family, False) for family in ("unet", *SAVED)), ("unet", True), ("flux", True)],
)
def test_compiled_gradients_are_the_plain_ones(family: str, checkpointing: bool, tiny: Tiny, tmp_path: Path) -> None:
    torch.manual_seed(7)
    folder = tiny.velocity if family == "unet" else tmp_path / family
    if family in SAVED:
        SAVED[family](folder)
    backbone = load_backbone(
        str(folder), steps=2, guidance=3.0, device="cpu", precision="float32", checkpointing=checkpointing
    )
    encoder = load_encoder(find_encoder(str(tiny.clip)), identity="", device=backbone.device, dtype=backbone.dtype)
    condition = backbone.encode(["a toy"])

    def gradients(counter: CompileCounterWithBackend | None) -> list[Tensor]:
        bank = SliderBank(backbone.denoiser, 2, pattern=backbone.layers["linear"])
        bank.ups.data.normal_(0, 0.1, generator=torch.Generator().manual_seed(1))
        objective, data = objective_for(backbone, encoder, condition, bank, Recipe(updates=1, lr=1.0))
        if counter is None:
            objective.descend(data, lanes_of(2))
        else:
            with objective.compiled(counter):
                for _ in range(2):
                    bank.zero_grad()
                    objective.descend(data, lanes_of(2))
        return [p.grad for p in bank.parameters() if p.grad is not None]

    counter = CompileCounterWithBackend("aot_eager")
    plain, compiled = gradients(None), gradients(counter)
    assert counter.frame_count >= 2, "up to x̃₀, and what is seen in it; more where a family's code leaves the program"
    assert len(plain) == 2 and min(float(g.abs().max()) for g in plain) > 0
    for one, other in zip(plain, compiled, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-3, atol=1e-5 * float(one.abs().max()))
