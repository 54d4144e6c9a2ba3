"""The Hub's card of a space: README.md with every slider, its picture and measures, and how to use them."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sliderspace.core.numbers import written
from sliderspace.core.settings import Settings
from sliderspace.core.sizes import sides
from sliderspace.method.directions import Directions
from sliderspace.models.backbones import PRESETS
from sliderspace.models.backbones.flux import SCHNELL_WINDOW
from sliderspace.models.backbones.lora import split, strength_of
from sliderspace.models.backbones.samplers import SAMPLERS
from sliderspace.models.backbones.unet import PREDICTIONS
from sliderspace.models.sources import is_repo
from sliderspace.share.export import kind_of, known_as, slider_notes
from sliderspace.share.lora_names import component_of
from sliderspace.share.modelspec import ONLY_DIFFUSERS
from sliderspace.share.places import place_name, shareable, short_name
from sliderspace.space.space import ELSEWHERE, SliderSpace

FROM_0 = ("z-image", "krea2")  # of `kind_of`: their pipelines count guidance from 0, which is none
CONTROLS = {  # what the axes of each are
    "random": "random ones",
    "differences": "from one single image to another",
    "images": "toward single images",
}
HUB_LICENCES = {  # the Hub's short names of those that base models have
    "Apache-2.0": "apache-2.0",
    "MIT": "mit",
    "CreativeML Open RAIL-M": "creativeml-openrail-m",
    "CreativeML Open RAIL++-M": "openrail++",
}


@dataclass(frozen=True)
class BaseModel:
    """The model sliders belong to: `repos` are its Hub ids (pipeline first, then weights put into it), `licence` its
    licence if told."""

    name: str
    repos: list[str]
    licence: str

    @property
    def hub_licence(self) -> str:
        return HUB_LICENCES.get(self.licence, "other")

    @property
    def licence_slug(self) -> str:
        """The Hub's metadata take a name of small letters, digits, dots and dashes for a licence it does not list."""
        return re.sub(r"[^a-z0-9.]+", "-", self.licence.lower()).strip("-.")


def base_model(settings: Settings, licence: str = "", repo: str = "") -> BaseModel:
    """The model that settings name; `licence` and `repo` (a Hub id) where somebody says them."""
    preset = PRESETS.get(settings.backbone)
    place = place_name(settings.backbone, digest=False)
    base = [preset.file or preset.location, preset.weights] if preset else [place]
    parts = [repo] if repo else [part.partition(":")[0] for part in base]
    repos = [part.partition("@")[0] for part in parts if repo or is_repo(part)]
    name = preset.name if preset else repos[0] if repos else short_name(place)
    return BaseModel(name, repos, licence or (preset.licence if preset else ""))


def card(
    space: SliderSpace, repo_id: str, files: list[Path], pictures: list[str], *, licence: str = "", base: str = ""
) -> str:
    """README.md of `space` in the repository `repo_id`: metadata for the Hub, every slider, and how to use them.

    `files` are the exported LoRA files and `pictures` the names of the strips, one a slider, or none.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("sliderspace.share", "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters |= {"plain": _plain, "written": written, "code": repr}
    s, shared = space.settings, shareable(space.settings)
    found = space.directions
    return environment.get_template("card.md.j2").render(
        settings=s,
        # without names of local folders
        listed=shared.model_dump(mode="json", exclude={"prompts", "backbone", "encoder", "decoder", "images"}),
        base=base_model(s, licence, base),
        repo_id=repo_id,
        elsewhere=place_name(s.backbone, digest=False).startswith(ELSEWHERE),  # whoever pulls has to name the model
        sliders=_sliders(space, files, pictures),
        controls=CONTROLS,
        of_files=found is None,
        together=_together(found),
        call=_call(s, kind_of(space)),
        scheduler=_scheduler(s),
        lora=split(shared.lora)[0],
        lora_elsewhere=shared.lora.startswith(ELSEWHERE),
        strength=f"{strength_of(s.lora):g}",
        known=known_as(space).elsewhere,
        only_diffusers=ONLY_DIFFUSERS,
        unet=component_of(name.rpartition(".")[0] for name in space.values) == "unet",
    )


def _together(found: Directions | None) -> float | None:
    """The share of the variation that the directions hold; None where they lean on each other, and it is no sum."""
    if found is None or not np.allclose(found.components_KD @ found.components_KD.T, np.eye(len(found.components_KD))):
        return None
    return float(found.explained_variance_ratio_K.sum())


def _sliders(space: SliderSpace, files: list[Path], pictures: list[str]) -> list[dict[str, Any]]:
    notes = slider_notes(space)
    found = space.directions
    return [
        {
            "index": k,
            "file": file.name,
            "name": notes[k]["label"].shown,
            "sentence": notes[k]["label"].sentence,
            "measures": notes[k]["measures"] or {},
            "share": None if found is None else float(found.explained_variance_ratio_K[k]),
            "picture": pictures[k] if pictures else None,
        }
        for k, file in enumerate(files)
    ]


def _call(settings: Settings, kind: str) -> str:
    """The arguments that make diffusers draw as the discovery did; `kind` of model as `kind_of`."""
    preset = PRESETS.get(settings.backbone)
    steps = settings.steps or (preset.steps if preset else None)
    times = list(preset.timesteps) if preset and len(preset.timesteps) == steps else None
    window = SCHNELL_WINDOW if kind == "flux" and "schnell" in settings.backbone.lower() else None
    guidance = settings.guidance if settings.guidance is not None or preset is None else preset.guidance
    width, height = sides(settings.resolution) if settings.resolution else (None, None)
    said = {"timesteps": times} if times else {"num_inference_steps": steps}
    said |= {**_guidance(kind, guidance), "width": width, "height": height, "max_sequence_length": window}
    told = {name: f"{value:g}" if isinstance(value, int | float) else repr(value) for name, value in said.items()}
    return ", ".join([repr(settings.prompts[0]), *(f"{name}={told[name]}" for name in said if said[name] is not None)])


def _scheduler(settings: Settings) -> tuple[str, str]:
    """diffusers' class of the sampler that the discovery used, and what it is told besides the pipeline's own
    configuration; empty where that scheduler is the pipeline's own."""
    preset = PRESETS.get(settings.backbone)
    if preset is None or not preset.sampler:
        return "", ""
    told = ({"timestep_spacing": preset.spacing} if preset.spacing else {}) | PREDICTIONS[preset.prediction]
    return SAMPLERS[preset.sampler][0], "".join(f", {name}={value!r}" for name, value in told.items())


def _guidance(kind: str, guidance: float | None) -> dict[str, float | str | None]:
    """Guidance, of which 1 is none here, in the words of the model's own pipeline."""
    if guidance is not None and kind in FROM_0:
        return {"guidance_scale": max(0.0, guidance - 1)}
    if guidance is not None and kind == "qwen-image":  # without a negative prompt its pipeline guides by nothing
        return {"true_cfg_scale": guidance, "negative_prompt": "" if guidance > 1 else None}
    return {"guidance_scale": guidance}


def _plain(text: str) -> str:
    """Text of strangers inside Markdown: on one line, and none of it read as markup."""
    return re.sub(r"([\\`*_{}\[\]<>()#!|~&])", r"\\\1", " ".join(text.encode(errors="replace").decode().split()))
