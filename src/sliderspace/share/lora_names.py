"""How other tools name the layers of a slider in a LoRA file.

`diffusers`: PEFT names, `<component>.<path>.lora_A.weight`, what `pipeline.load_lora_weights` reads.
`comfyui`: for UNets kohya's names, `lora_unet_<path with underscores>.lora_down.weight` and `.alpha`; for transformers
the PEFT names.

Both were taken from the readers' own sources; tests/test_formats.py holds the mappings and says where each was found.
"""

from collections.abc import Iterable
from typing import Literal, NamedTuple

from torch import Tensor

Format = Literal["diffusers", "comfyui"]
FORMATS: tuple[Format, ...] = ("diffusers", "comfyui")
UNET_PARTS = ("down_blocks.", "mid_block.", "up_blocks.")


class Keys(NamedTuple):
    """The names of one layer's values in a file; `alpha` is empty where the format has none."""

    down: str
    up: str
    alpha: str


def component_of(paths: Iterable[str]) -> str:
    """What diffusers' pipelines call the denoiser these layers are of: "unet" or "transformer"."""
    return "unet" if all(path.startswith(UNET_PARTS) for path in paths) else "transformer"


def keys_for(path: str, component: str, layout: Format) -> Keys:
    """The names of the layer at module path `path`."""
    if layout == "comfyui" and component == "unet":
        name = f"lora_unet_{path.replace('.', '_')}"
        return Keys(f"{name}.lora_down.weight", f"{name}.lora_up.weight", f"{name}.alpha")
    return Keys(f"{component}.{path}.lora_A.weight", f"{component}.{path}.lora_B.weight", "")


def family_of(down: dict[str, Tensor]) -> str:
    """ "sd1", "sd2", "sdxl" or "": the Stable Diffusion whose text width the cross-attention inputs [r, in] of a UNet
    have."""
    widths = {value.shape[-1] for path, value in down.items() if path.endswith(("attn2.to_k", "attn2.to_v"))}
    return {768: "sd1", 1024: "sd2", 2048: "sdxl"}.get(widths.pop(), "") if len(widths) == 1 else ""


# A1111 takes any file with metadata for SD 1 unless it says otherwise, and hides it beside other models
# (extensions-builtin/Lora/network.py, detect_version; ui_extra_networks_lora.py, create_item).
LABELS = {
    "sd1": {"ss_base_model_version": "sd_v1", "modelspec.architecture": "stable-diffusion-v1/lora"},
    "sd2": {"ss_base_model_version": "sd_v2", "ss_v2": "True"},
    "sdxl": {"ss_base_model_version": "sdxl_base_v1-0", "modelspec.architecture": "stable-diffusion-xl-v1-base/lora"},
}
