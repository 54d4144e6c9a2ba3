"""A bank of sliders on a real denoiser: nothing at zero, each row its own strengths, and images that say so."""

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from support.tiny import Tiny
from torch import Tensor, nn

from sliderspace.core.errors import BadInput, DamagedFile
from sliderspace.core.settings import Targets
from sliderspace.method.denoise import render
from sliderspace.method.sliders import SliderBank, stored_values, target_layers
from sliderspace.method.strengths import sparse_mix, sweep_rows
from sliderspace.models.backbones import Backbone, Condition
from sliderspace.models.backbones.unet import UNetBackbone
from sliderspace.models.load import load_backbone
from sliderspace.storage.files import save_tensors
from sliderspace.storage.images import to_uint8

LAYERS = UNetBackbone.layers

K = 4


@pytest.fixture(scope="module")
def bank(backbone: Backbone) -> SliderBank:
    """Sliders that plainly do something: trained ones begin as nothing at all."""
    made = SliderBank(backbone.denoiser, K, rank=2, pattern=LAYERS["attention"], seed=3)
    _wake(made)
    return made


def _wake(bank: SliderBank, size: float = 0.3) -> None:
    random = torch.Generator().manual_seed(9)
    with torch.no_grad():
        bank.ups.copy_(torch.randn(bank.ups.shape, generator=random) * size)


@pytest.fixture(scope="module")
def rows(backbone: Backbone) -> Condition:
    return backbone.encode(["a robot"]).rows([0] * 6)


def predicted(
    backbone: Backbone, bank: SliderBank | None, rows: Condition, strengths_BK: Tensor | None, seeds: list[int]
) -> Tensor:
    x, step_B = backbone.noise(seeds), torch.ones(len(seeds), dtype=torch.long)
    with torch.no_grad():
        if bank is None:
            return backbone.predict(x, step_B, rows)
        with bank.active(strengths_BK):
            return backbone.predict(x, step_B, rows)


SEEDS = [1, 2, 3, 4, 5, 6]


def mixed_rows() -> Tensor:
    """Nothing, one slider, its opposite, another, two at once, all."""
    s = torch.zeros(6, K)
    s[1, 0], s[2, 0], s[3, 2], s[4, 1], s[4, 3], s[5] = 1.0, -1.0, 2.0, 0.5, -1.5, 1.0
    return s


# ---- zero is the base model


@pytest.mark.parametrize("strengths", [None, torch.zeros(6, K)], ids=["none", "zeros"])
def test_zero_strengths_are_the_base_model_to_the_bit(
    backbone: Backbone, bank: SliderBank, rows: Condition, strengths: Tensor | None
) -> None:
    assert torch.equal(predicted(backbone, bank, rows, strengths, SEEDS), predicted(backbone, None, rows, None, SEEDS))


def test_a_zero_row_among_others_is_the_base_model_to_the_bit(
    backbone: Backbone, bank: SliderBank, rows: Condition
) -> None:
    base, mixed = predicted(backbone, None, rows, None, SEEDS), predicted(backbone, bank, rows, mixed_rows(), SEEDS)
    assert torch.equal(mixed[0], base[0])
    assert all((mixed[i] - base[i]).abs().max() > 1e-3 for i in range(1, 6)), (
        "or the sliders do nothing and nothing was shown"
    )


def test_untrained_sliders_are_the_base_model_to_the_bit(backbone: Backbone, rows: Condition) -> None:
    fresh = SliderBank(backbone.denoiser, K, pattern=LAYERS["attention"])
    assert torch.equal(
        predicted(backbone, fresh, rows, torch.ones(6, K), SEEDS), predicted(backbone, None, rows, None, SEEDS)
    )


def test_the_model_is_itself_again_after_the_block_and_after_an_error(
    backbone: Backbone, bank: SliderBank, rows: Condition
) -> None:
    base = predicted(backbone, None, rows, None, SEEDS)
    predicted(backbone, bank, rows, mixed_rows(), SEEDS)
    with pytest.raises(RuntimeError), bank.active(mixed_rows()):
        raise RuntimeError
    assert torch.equal(predicted(backbone, None, rows, None, SEEDS), base)


def test_images_at_zero_strength_are_the_base_images(backbone: Backbone, bank: SliderBank) -> None:
    condition = backbone.encode(["a robot"])
    base, zero = (
        torch.cat(list(render(backbone, b, condition, [1, 2], [0, 0], torch.zeros(2, K)))) for b in (None, bank)
    )
    assert torch.equal(base, zero)


# ---- rows


def test_mixed_rows_equal_the_rows_one_by_one(backbone: Backbone, bank: SliderBank, rows: Condition) -> None:
    s = mixed_rows()
    alone = [predicted(backbone, bank, rows.rows([0]), s[i : i + 1], SEEDS[i : i + 1]) for i in range(6)]
    torch.testing.assert_close(predicted(backbone, bank, rows, s, SEEDS), torch.cat(alone), rtol=1e-4, atol=1e-4)


def test_whole_images_of_mixed_rows_equal_those_drawn_alone(backbone: Backbone, bank: SliderBank) -> None:
    condition, s = backbone.encode(["a robot", "a person"]), mixed_rows() * 0.3
    prompt_N = [i % 2 for i in range(6)]
    alone = [next(iter(render(backbone, bank, condition, [SEEDS[i]], [prompt_N[i]], s[i : i + 1]))) for i in range(6)]
    for batch in (64, 4):
        together = torch.cat(list(render(backbone, bank, condition, SEEDS, prompt_N, s, batch=batch)))
        torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-3)


def test_with_guidance_both_halves_of_a_row_get_its_strengths(tiny: Tiny) -> None:
    """A guided model runs every row twice, empty prompts first: strengths must follow their rows, not the batch's
    order."""
    guided = load_backbone(str(tiny.velocity), steps=3, guidance=3.0, device="cpu", precision="float32")
    bank = SliderBank(guided.denoiser, K, pattern=LAYERS["attention"])
    _wake(bank)
    rows, s = guided.encode(["a robot"]).rows([0] * 6), mixed_rows()
    alone = [predicted(guided, bank, rows.rows([0]), s[i : i + 1], SEEDS[i : i + 1]) for i in range(6)]
    torch.testing.assert_close(predicted(guided, bank, rows, s, SEEDS), torch.cat(alone), rtol=1e-3, atol=1e-3)


def test_a_slider_is_the_lora_peft_would_make_of_it(tiny: Tiny, backbone: Backbone, rows: Condition) -> None:
    """The same A and B as a PEFT adaptor, weighted by a (negative) strength, on a second copy of the model."""
    bank = SliderBank(backbone.denoiser, K, rank=2, pattern=LAYERS["attention"], seed=3)
    _wake(bank)
    other = load_backbone(str(tiny.velocity), steps=3, guidance=1.0, device="cpu", precision="float32")
    inject_adapter_in_model(LoraConfig(r=2, lora_alpha=2, target_modules=list(bank.layers)), other.denoiser)
    for path in bank.layers:
        layer = other.denoiser.get_submodule(path)
        values, strength = bank.tensors(), -1.5
        layer.lora_A["default"].weight.data.copy_(values[f"{path}.down"][1])  # pyright: ignore
        layer.lora_B["default"].weight.data.copy_(values[f"{path}.up"][1] * strength)  # pyright: ignore
    s = torch.zeros(6, K)
    s[:, 1] = -1.5
    torch.testing.assert_close(
        predicted(backbone, bank, rows, s, SEEDS), predicted(other, None, rows, None, SEEDS), rtol=1e-3, atol=1e-4
    )


# ---- where sliders attach


def test_targets_are_matched_by_path(backbone: Backbone) -> None:
    found: dict[Targets, set[str]] = {t: set(target_layers(backbone.denoiser, LAYERS[t])) for t in LAYERS}
    assert all("attn2.to_k" in path or "attn2.to_v" in path for path in found["cross-kv"])
    blocks = {path.rsplit(".attn2.", 1)[0] for path in found["cross-kv"]}
    kinds = {block.split(".")[0] for block in blocks}
    assert kinds == {"down_blocks", "mid_block", "up_blocks"}
    assert [len(found[t]) for t in ("cross-kv", "cross", "attention")] == [
        2 * len(blocks),
        4 * len(blocks),
        8 * len(blocks),
    ]
    assert found["cross-kv"] < found["cross"] < found["attention"]


@pytest.mark.parametrize("targets", list(LAYERS))
def test_matching_no_layer_is_an_error(targets: Targets) -> None:
    renamed = nn.ModuleDict({"attention2": nn.ModuleDict({"key": nn.Linear(4, 4), "to_k": nn.Linear(4, 4)})})
    with pytest.raises(BadInput, match="no linear layer"):
        SliderBank(renamed, 2, pattern=LAYERS[targets])


@pytest.mark.parametrize(("count", "rank"), [(0, 1), (1, 0), (-1, 1)])
def test_no_sliders_or_no_rank(backbone: Backbone, count: int, rank: int) -> None:
    with pytest.raises(BadInput):
        SliderBank(backbone.denoiser, count, rank=rank)


def test_values_are_float32_whatever_the_model_computes_in(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sliderspace.models.device.computes_bf16", lambda device: True)
    half = load_backbone(str(tiny.velocity), steps=3, guidance=1.0, device="cpu", precision="bfloat16")
    bank = SliderBank(half.denoiser, 2)
    assert {p.dtype for p in bank.parameters()} == {torch.float32}
    _wake(bank)
    rows = half.encode(["a robot"]).rows([0])
    assert predicted(half, bank, rows, torch.ones(1, 2), [1]).dtype == torch.float32


@pytest.mark.parametrize(("rows", "within"), [(1, 2e-4), (2, 2**-8)], ids=["each its own", "the same for all"])
def test_nothing_of_a_strength_or_a_small_effect_is_lost_in_bfloat16(rows: int, within: float) -> None:
    """bfloat16 takes 40.08 for 40, and a sum rounded twice is not the nearest to what was added. Where all rows have
    the same sliders a token's strength is rounded once."""
    to_k = nn.Linear(32, 4096, bias=False, dtype=torch.bfloat16)
    bank, x = (
        SliderBank(nn.ModuleDict({"to_k": to_k}), 1, pattern="to_k", up="frozen", seed=1),
        torch.randn(1, 7, 32).bfloat16(),
    )

    def moved(strength: float) -> Tensor:
        with bank.active(torch.full((rows, 1), strength)):
            return to_k(x.repeat(rows, 1, 1))[-1]

    with torch.no_grad():
        low = (x @ bank.down[0].T.bfloat16()).float()[0]
        base, effect = to_k(x)[0].float(), low @ bank.ups[0].bfloat16().float()
        assert (moved(1.0) == (base + effect).bfloat16()).float().mean() > 0.999
        to_k.weight.zero_()
        found = [float((moved(s).float() * effect).sum() / effect.square().sum()) for s in (40.0, 40.08)]
    assert found[1] / found[0] == pytest.approx(40.08 / 40, abs=within)


def test_only_sliders_in_use_are_computed(backbone: Backbone, bank: SliderBank, rows: Condition) -> None:
    """Sliders nobody asked for are not even multiplied by zero: a broken one would show."""
    broken = SliderBank(backbone.denoiser, K, rank=2, pattern=LAYERS["attention"], seed=3)
    _wake(broken)
    with torch.no_grad():
        broken.ups[2] = torch.nan
    s = torch.zeros(6, K)
    s[1, 0] = 1.0
    assert torch.equal(predicted(backbone, broken, rows, s, SEEDS), predicted(backbone, bank, rows, s, SEEDS))


def test_what_is_saved_comes_back_and_what_does_not_fit_is_refused(backbone: Backbone, bank: SliderBank) -> None:
    values = {name: t.clone() for name, t in bank.tensors().items()}
    other = SliderBank(backbone.denoiser, K, rank=2, pattern=LAYERS["attention"], seed=4)
    other.load_tensors(values)
    assert all(torch.equal(t, values[name]) for name, t in other.tensors().items())
    for wrong in (
        SliderBank(backbone.denoiser, K, rank=1, pattern=LAYERS["attention"]),
        SliderBank(backbone.denoiser, 3, rank=2, pattern=LAYERS["attention"]),
        SliderBank(backbone.denoiser, K, rank=2, pattern=LAYERS["cross-kv"]),
    ):
        with pytest.raises(BadInput):
            wrong.load_tensors(values)


def test_stored_values_are_those_of_one_bank(tmp_path: Path) -> None:
    """Two layers of rank 2, three sliders; then a half of another rank, type, number of sliders, name, or none."""
    path = tmp_path / "sliders.safetensors"
    whole = {"a.b.down": torch.ones(3, 2, 5), "a.b.up": torch.ones(3, 4, 2)}
    whole |= {"c.down": torch.ones(3, 2, 7), "c.up": torch.ones(3, 6, 2)}

    def stored(values: dict[str, Tensor], count: int = 3) -> dict[str, Tensor]:
        save_tensors(path, values, kind="sliders", fingerprint="f")
        return stored_values(path, count)

    assert all(torch.equal(value, whole[name]) for name, value in stored(whole).items())
    for name, value in whole.items():
        rest = {n: v for n, v in whole.items() if n != name}
        other_rank = value[:, :1] if name.endswith(".down") else value[..., :1]
        odd_ones = [{name: odd} for odd in (other_rank, value[:2], value[0], value.double())]
        for part in ({}, {f"{name}x": value}, *odd_ones):
            with pytest.raises(DamagedFile, match="sliders"):
                stored({**rest, **part})
    for values, count in (({}, 3), (whole, 4)):
        with pytest.raises(DamagedFile):
            stored(values, count)


def test_a_bank_is_a_function_of_its_seed(backbone: Backbone) -> None:
    one, same, other = (SliderBank(backbone.denoiser, 2, seed=s).tensors() for s in (1, 1, 2))
    assert all(torch.equal(one[n], same[n]) for n in one)
    assert any(not torch.equal(one[n], other[n]) for n in one)


def test_values_per_slider_counts_what_is_trained(backbone: Backbone) -> None:
    layers = target_layers(backbone.denoiser, LAYERS["cross-kv"]).values()
    ins, outs = sum(m.in_features for m in layers), sum(m.out_features for m in layers)
    assert SliderBank(
        backbone.denoiser, 5, rank=3, pattern=LAYERS["cross-kv"], up="trained"
    ).values_per_slider() == 3 * (ins + outs)
    assert (
        SliderBank(backbone.denoiser, 5, rank=3, pattern=LAYERS["cross-kv"], up="frozen").values_per_slider() == 3 * ins
    )


# ---- drawing with them


def test_a_later_start_step_keeps_more_of_the_image(backbone: Backbone, bank: SliderBank) -> None:
    condition, s = backbone.encode(["a robot"]), mixed_rows()[1:2] * 0.5
    base = next(iter(render(backbone, None, condition, [1], [0])))
    moved = [next(iter(render(backbone, bank, condition, [1], [0], s, start_step=t))) for t in range(backbone.steps)]
    change = [float((m - base).abs().mean()) for m in moved]
    assert change[0] > change[1] > change[2] > 0


def test_an_end_step_leaves_the_rest_to_the_model(backbone: Backbone, bank: SliderBank) -> None:
    """With the same latents after it, an end step at the last step is the model alone there; at the end, nothing."""
    condition, s = backbone.encode(["a robot"]), mixed_rows()[1:2]
    moved = {e: next(iter(render(backbone, bank, condition, [1], [0], s, end_step=e))) for e in (1, 2, 3, None)}
    base = next(iter(render(backbone, bank, condition, [1], [0])))
    assert torch.equal(moved[3], moved[None])
    away = [float((moved[e] - base).abs().mean()) for e in (1, 2, 3)]
    assert away[0] > 0 and len(set(away)) == 3
    for start, end in ((0, 0), (1, 1), (0, 4)):
        with pytest.raises(BadInput, match="end step"):
            next(iter(render(backbone, bank, condition, [1], [0], s, start_step=start, end_step=end)))


@pytest.mark.parametrize("step", [-1, 3, 99])
def test_start_steps_the_sampler_has_not(backbone: Backbone, bank: SliderBank, step: int) -> None:
    with pytest.raises(BadInput, match="0 … 2"):
        next(iter(render(backbone, bank, backbone.encode(["a robot"]), [1], [0], mixed_rows()[:1], start_step=step)))


def test_sweep_rows_differ_in_one_strength() -> None:
    seeds, s = sweep_rows(2, [-1.0, 0.0, 3.0], [7, 8], K)
    assert seeds == [7, 7, 7, 8, 8, 8]
    assert s[:, 2].tolist() == [-1, 0, 3, -1, 0, 3] and not s[:, [0, 1, 3]].any()


def test_a_sparse_mix_has_as_many_sliders_as_asked_and_both_signs() -> None:
    mix = sparse_mix(range(200), 16, active=3, scale=1.5, seed=1)
    assert (mix != 0).sum(1).tolist() == [3] * 200
    assert set(mix.unique().tolist()) == {-1.5, 0.0, 1.5}
    assert (mix != 0).any(0).all(), "every slider gets its turn"
    some = sparse_mix(range(50, 60), 16, active=3, scale=1.5, seed=1)
    assert torch.equal(mix[50:60], some), "an image's mix is a function of (seed, image)"
    assert not torch.equal(mix, sparse_mix(range(200), 16, active=3, scale=1.5, seed=2))


@pytest.mark.parametrize("active", [0, 5])
def test_a_mix_of_more_sliders_than_there_are(active: int) -> None:
    with pytest.raises(BadInput):
        sparse_mix([1, 2, 3], 4, active=active)


def test_pixels_are_rounded_as_diffusers_does() -> None:
    x = torch.tensor([-0.2, 0.0, 0.4 / 255, 0.6 / 255, 1.0, 1.3]).view(1, 1, 1, 6).repeat(1, 3, 1, 1)
    assert to_uint8(x)[0, 0, :, 0].tolist() == [0, 0, 0, 1, 255, 255]
