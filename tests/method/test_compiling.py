"""Networks as compiled programs: the same gradients.

Of Qwen-Image and Krea 2 it takes four minutes each, with their autoencoder over video frames; both passed when asked."""

from functools import partial
from pathlib import Path

import pytest
import torch
from support.tiny import Tiny
from support.tiny_flow import save_flux, save_zimage
from support.tiny_today import save_flux2, save_sd3
from support.tiny_unet import save_sdxl
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend
from typer.testing import CliRunner

from sliderspace.cli import app
from sliderspace.method.objective import Recipe
from sliderspace.method.sliders import SliderBank
from sliderspace.models.encoders import find_encoder, load_encoder
from sliderspace.models.load import load_backbone
from sliderspace.plan.one_lane import lanes_of, objective_for
from sliderspace.storage.files import load_tensors

SAVED = {
    "sdxl": save_sdxl,
    "flux": partial(save_flux, dev=True),
    "zimage": save_zimage,
    "sd3": save_sd3,
    "flux2": save_flux2,
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


@pytest.mark.slow
def test_a_compiled_discovery_ends_where_a_plain_one_does(tiny: Tiny, tmp_path: Path) -> None:
    """By a C++ compiler, as users run it."""
    asked = ["discover", "a toy", "--backbone", str(tiny.velocity), "--encoder", str(tiny.clip), "--steps=3"]
    asked += ["--samples=40", "--sliders=2", "--updates=12", "--precision=float32", "--device=cpu"]
    for name, more in (("plain", []), ("compiled", ["--compile"])):
        result = CliRunner().invoke(app, [*asked, "--out", str(tmp_path / name), *more])
        assert result.exit_code == 0, result.output
        assert ("the first update compiles" in result.output) == bool(more)
    plain, compiled = (
        load_tensors(tmp_path / n / "sliders.safetensors", kind="sliders")[0] for n in ("plain", "compiled")
    )
    assert any(not value.equal(compiled[name]) for name, value in plain.items()), "or nothing was compiled"
    one, other = (torch.cat([t.flatten() for t in ts]) for ts in (plain.values(), compiled.values()))
    assert torch.cosine_similarity(one, other, dim=0) > 0.99, "Adam makes much of a gradient that is only rounding"
