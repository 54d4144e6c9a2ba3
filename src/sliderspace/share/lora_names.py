"""How other programs name the layers of a LoRA file: the names we write, and those that are read.

Written is the one layout a family that every program reads: for UNets kohya's, `lora_unet_<path with
underscores>.lora_down.weight`, `.lora_up.weight` and `.alpha`; for transformers PEFT's,
`transformer.<path>.lora_A.weight` and `.lora_B.weight`. tests/share/test_lora_names.py holds what ComfyUI, A1111 and
diffusers map, and where it was found. Read is whatever diffusers turns into its own module paths.
"""

import re
from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple

from torch import Tensor

from sliderspace.core.errors import BadInput

UNET_PARTS = ("down_blocks.", "mid_block.", "up_blocks.")
TRANSFORMER_PARTS = (
    "transformer_blocks.",
    "text_fusion.",
    "single_transformer_blocks.",
    "layers.",
    "noise_refiner.",
    "context_refiner.",
)


class Keys(NamedTuple):
    """The names of one layer's values in a file; `alpha` is empty where the layout has none."""

    down: str
    up: str
    alpha: str


def component_of(paths: Iterable[str]) -> str:
    """What diffusers' pipelines call the denoiser these layers are of: "unet" or "transformer"."""
    return "unet" if all(path.startswith(UNET_PARTS) for path in paths) else "transformer"


def keys_for(path: str, component: str) -> Keys:
    """The names that the layer at module path `path` has in a file we write."""
    if component == "unet":
        name = f"lora_unet_{path.replace('.', '_')}"
        return Keys(f"{name}.lora_down.weight", f"{name}.lora_up.weight", f"{name}.alpha")
    return Keys(f"transformer.{path}.lora_A.weight", f"transformer.{path}.lora_B.weight", "")


def family_of(down: Mapping[str, Tensor]) -> str:
    """ "sd1", "sd2", "sdxl", "flux", "z-image", … or "": the models these layers [r, in] fit. A UNet is told by the
    text width that the inputs of its cross-attention have, a transformer by its blocks."""
    if component_of(down) == "transformer":
        return _transformer_of(down)
    widths = {value.shape[-1] for path, value in down.items() if path.endswith(("attn2.to_k", "attn2.to_v"))}
    return {768: "sd1", 1024: "sd2", 2048: "sdxl"}.get(widths.pop(), "") if len(widths) == 1 else ""


WIDTHS = {1536: "sd35", 2432: "sd35", 4096: "flux2", 6144: "krea2"}  # of joint blocks, where it is one family's
JOINT_BLOCKS = {8: "flux2", 19: "flux", 60: "qwen-image"}  # at most, of the families that are 3072 wide


def _transformer_of(down: Mapping[str, Tensor]) -> str:
    if not any(path.startswith(("transformer_blocks.", "single_transformer_blocks.", "text_fusion.")) for path in down):
        return "z-image"
    if any(path.endswith("to_qkv_mlp_proj") for path in down):
        return "flux2"
    if any(path.startswith("single_transformer_blocks.") for path in down):
        return "flux"
    if any(path.startswith("text_fusion.") for path in down):
        return "krea2"
    widths = {value.shape[-1] for path, value in down.items() if ".attn.to_k" in path or ".attn.add_k_proj" in path}
    blocks = {path.split(".")[1] for path in down if path.startswith("transformer_blocks.")}
    if widths == {3072}:
        return next((name for most, name in JOINT_BLOCKS.items() if len(blocks) <= most), "")
    return WIDTHS.get(widths.pop(), "") if len(widths) == 1 else ""


# ---- reading

# A part of a key -> the kind of adaptor it belongs to. None of them is a product of two matrices alone.
OTHER_KINDS = {
    "hada_w": "LoHa",
    "lokr_w": "LoKr",
    "lokr_t": "LoKr",
    "dora_scale": "DoRA",
    "lora_magnitude_vector": "DoRA",
    "lora_mid": "LoCon with a core",
    "oft_": "OFT",
    "boft_": "OFT",
}
# (part of a key, the pipeline of diffusers that reads such files)
READERS = (
    (r"(down|up|input|output)_blocks|(mid|middle)_block", "StableDiffusionXLPipeline"),
    (r"(double|single|transformer)_blocks|text_fusion", "FluxPipeline"),
    (r"layers[._]\d|refiner", "ZImagePipeline"),
)
TEXT = r"(base_model\.model\.)?(lora_te\d?_|te\d?\.|text_encoder|text_model)"
UNREADABLE = (ValueError, KeyError, IndexError, TypeError, AttributeError, RuntimeError)  # what those readers raise


def other_kind(names: Iterable[str]) -> str:
    """The kind of adaptor that tensor names are of, where it is not a LoRA ("LoHa", …); else ""."""
    return next((kind for name in names for part, kind in OTHER_KINDS.items() if part in name), "")


def denoiser_layers(tensors: Mapping[str, Tensor]) -> tuple[dict[str, tuple[Tensor, Tensor]], int]:
    """LoRA tensors under any names that diffusers reads -> {module path: (down, up)} of the denoiser, and how many
    tensors are a text encoder's.

    The scale of an alpha must be in the values already. Raises BadInput where a name is not known.
    """
    renamed = {_rooted(name): value for name, value in tensors.items() if not re.match(TEXT, name)}
    if not renamed:
        raise BadInput("it changes text encoders only")
    reader = next((reader for part, reader in READERS if any(re.search(part, name) for name in renamed)), "")
    if not reader:
        raise BadInput("it names no layer of a model known here")
    try:
        found = _read(reader, dict(renamed))  # it is emptied there
    except UNREADABLE as error:
        raise BadInput(f"diffusers does not know its layers: {str(error).splitlines()[0][:80]}") from error
    halves = {name.partition(".")[2]: value for name, value in found.items()}
    downs = {name.removesuffix(".lora_A.weight") for name in halves if name.endswith(".lora_A.weight")}
    if odd := halves.keys() ^ {f"{path}.lora_{half}.weight" for path in downs for half in "AB"}:
        raise BadInput(f"'{min(odd)}' is no half of a LoRA layer")
    layers = {path: (halves[f"{path}.lora_A.weight"], halves[f"{path}.lora_B.weight"]) for path in sorted(downs)}
    return layers, len(tensors) - len(renamed)


def _rooted(name: str) -> str:
    """PEFT's own files, and some trainers', name layers from the denoiser on."""
    path = name.removeprefix("base_model.model.")
    if path.startswith(UNET_PARTS):
        return f"unet.{path}"
    return f"transformer.{path}" if path.startswith(TRANSFORMER_PARTS) else name


def _read(reader: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names as PEFT has them, `<component>.<module path>.lora_A.weight`."""
    import diffusers
    from diffusers.utils.state_dict_utils import convert_unet_state_dict_to_peft

    pipeline: Any = getattr(diffusers, reader)
    if reader != "StableDiffusionXLPipeline":
        return pipeline.lora_state_dict(tensors)
    # Both Stable Diffusion pipelines read alike; SDXL files of kohya's trainer count blocks as the original code does.
    found, _ = pipeline.lora_state_dict(tensors, unet_config=SimpleNamespace(layers_per_block=2))
    return convert_unet_state_dict_to_peft(found)
