"""What an exported file says to other people's programs, in their own keys.

ModelSpec 1.0: README of Stability-AI/ModelSpec at 02f62793, all keys that MUST and SHOULD be there. What programs take
a file for: A1111 (extensions-builtin/Lora/network.py, detect_version, at 0a0efa3f) goes by `ss_base_model_version` and
`ss_v2` and takes every other file for SD 1, unless the sidecar has one of its words under "sd version"; Forge
(extensions-builtin/sd_forge_lora/network.py) by `modelspec.architecture` and `.implementation`, and by the same entry
of the sidecar first; SD.Next (modules/lora/network.py at 0c7038e6) by both kinds of keys. ComfyUI reads none of them:
it goes by the names of the tensors.
"""

from typing import NamedTuple

from sliderspace.core.numbers import written
from sliderspace.core.sizes import Size, sides
from sliderspace.core.text import one_line
from sliderspace.share.metadata import About
from sliderspace.share.places import short_name
from sliderspace.storage.images import scale_label

SHOWN = ("alignment", "consistency", "realism")  # of the measures, in a description
ONLY_DIFFUSERS = "Only diffusers knows this base model: ComfyUI, A1111, Forge and SD.Next cannot use the file."


class Family(NamedTuple):
    """What other programs call the models of a family. `webui` is the word for A1111's and Forge's sidecar."""

    architecture: str
    implementation: str
    base: str
    webui: str
    resolution: Size  # pixels; 0: not known
    elsewhere: bool = True  # whether any program but diffusers knows it


# A1111 has no word for FLUX, which it cannot draw; Forge, which can, has one. Z-Image neither of them has.
FAMILIES = {
    "sd1": Family("stable-diffusion-v1", "diffusers", "sd_v1", "SD1", 512),
    "sd2": Family("stable-diffusion-v2-512", "diffusers", "sd_v2", "SD2", 512),
    "sd2-768": Family("stable-diffusion-v2-768-v", "diffusers", "sd_v2", "SD2", 768),
    "sdxl": Family(
        "stable-diffusion-xl-v1-base",
        "https://github.com/Stability-AI/generative-models",
        "sdxl_base_v1-0",
        "SDXL",
        1024,
    ),
    "flux": Family("flux-1", "https://github.com/black-forest-labs/flux", "flux1", "Flux", 1024),
    "sd35": Family("stable-diffusion-v3.5", "https://github.com/Stability-AI/sd3.5", "sd3.5", "Unknown", 1024),
    "qwen-image": Family("Qwen-Image", "https://github.com/QwenLM/Qwen-Image", "qwen_image", "Unknown", 1024),
    "flux2": Family("flux-2", "https://github.com/black-forest-labs/flux2", "flux2", "Unknown", 1024),
    "krea2": Family("Krea-2", "https://github.com/krea-ai/krea-2", "krea2", "Unknown", 1024),
    "z-image": Family("Z-Image", "https://github.com/Tongyi-MAI/Z-Image", "zimage", "Unknown", 1024),
}


def family(kind: str, backbone: str, resolution: Size = 0) -> Family:
    """`kind` is of `lora_names.family_of`; `resolution` is in pixels where it is known. Of models that nobody else
    knows, the architecture is the model's own name."""
    if kind not in FAMILIES:
        name = short_name(backbone)
        return Family(name, "diffusers", name, "Unknown", resolution, elsewhere=False)
    found = FAMILIES["sd2-768" if kind == "sd2" and resolution == 768 else kind]
    variant = next((v for v in ("dev", "schnell") if kind == "flux" and v in backbone.lower()), "")
    architecture = f"{found.architecture}-{variant}" if variant else found.architecture
    return found._replace(architecture=architecture, resolution=resolution or found.resolution)


def keys(about: About, family: Family, *, date: str, digest: str) -> dict[str, str]:
    """The metadata for other programs. `date` is ISO 8601; `digest` the SHA-256 of all values as they lie in the
    file."""
    width, height = sides(family.resolution)
    return {
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": f"{family.architecture}/lora",
        "modelspec.implementation": family.implementation,
        "modelspec.title": title(about),
        "modelspec.description": description(about, family),
        "modelspec.author": f"made with sliderspace {about.package}",
        "modelspec.date": date,
        "modelspec.hash_sha256": f"0x{digest}",
        **({"modelspec.resolution": f"{width}x{height}"} if family.resolution else {}),
        "modelspec.usage_hint": hint(about, family),
        "ss_base_model_version": family.base,
        "ss_sd_model_name": short_name(about.base_model),
        "sshs_model_hash": digest,  # kohya's: Forge and A1111 need not read the file for it
        **({"ss_v2": "True"} if family.webui == "SD2" else {}),
    }


def name(about: About) -> str:
    """The slider's name, in parentheses where it is unsure; its number where there is none."""
    return (about.label and about.label.shown) or about.name or f"slider {about.index}"


def prompt(about: About) -> str:
    """What the slider was discovered in."""
    return one_line(about.prompts[0])


def title(about: About) -> str:
    """What other programs show of a file."""
    return f"{name(about)} of “{prompt(about)}”, 1.0 = {_units(about)}"


def sentence(about: About) -> str:
    """What the slider does, in a sentence: that of whoever gave its name, the name itself where a person did."""
    label = about.label
    said = label.sentence if label and not label.by_person else ""
    return said or f"{name(about)[:1].upper()}{name(about)[1:]}."


def _units(about: About) -> str:
    if about.mix:
        return "the mix as it was made"
    return f"{about.unit:g} natural unit{'' if about.unit == 1 else 's'}"


def span(about: About) -> tuple[float, float] | None:
    """The strengths in the file's own measure within which the slider was found usable; None where none was."""
    found = (about.measures or {}).get("span")
    low, high = found if isinstance(found, list) and len(found) == 2 else (None, None)
    return None if low is None or high is None or low >= high else (low / about.unit, high / about.unit)


def hint(about: About, family: Family) -> str:
    """One line on how to use the file."""
    usable = span(about)
    strength = f"strength {' … '.join(scale_label(round(s, 2)) for s in usable)}" if usable else "strength: start at 1"
    return "; ".join([strength, f"prompt: {prompt(about)}", *([] if family.elsewhere else [ONLY_DIFFUSERS])])


def description(about: About, family: Family) -> str:
    """What a person should know of the slider, in paragraphs."""
    label, usable, measures = about.label, span(about), about.measures or {}
    unit = f"Strength 1.0 is {_units(about)}"
    unit += "." if about.mix else "; one is a standard deviation of the model's own pictures."
    kind = "Sliders" if about.mix else f"Slider {about.index}"
    numbers = [f"{key} {written(measures[key])}" for key in SHOWN if measures.get(key) is not None]
    paragraphs = [
        sentence(about) + (" The name is unsure." if label and not label.sure else ""),
        f"{kind} of “{prompt(about)}”, {_made(about)} by SliderSpace; it can be turned both ways. {unit}"
        + (f" Usable from {' to '.join(scale_label(round(s, 2)) for s in usable)}." if usable else ""),
        f"Measured: {', '.join(numbers)}." if numbers else "",
        f"Base model: {about.base or about.base_model}." + ("" if family.elsewhere else f" {ONLY_DIFFUSERS}"),
    ]
    return "\n\n".join(filter(None, paragraphs))


def _made(about: About) -> str:
    """Nothing found what was asked for in words, nor a control."""
    asked = about.settings.get("pairs") or about.settings.get("control", "none") != "none"
    return "trained" if asked else "found"


def weight(about: About) -> float:
    """The strength to begin with: 1, or what of it is usable."""
    usable = span(about)
    return round(min(1.0, usable[1]), 2) if usable and usable[1] > 0 else 1.0
