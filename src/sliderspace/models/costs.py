"""A model's name or folder -> how large its parts are and what a call of each costs, from a stored table.

The table was counted on models without weights by `python benchmarks/costs.py --write`, in bfloat16 and at each
preset's own resolution; a slow test counts again. Nothing heavy is imported or fetched to read it.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from math import prod
from pathlib import Path
from typing import Any

from safetensors import safe_open

from sliderspace.core.settings import Settings
from sliderspace.core.sizes import Size, sides
from sliderspace.models.backbones.families import family_of
from sliderspace.models.backbones.folder import own_size, vae_scale
from sliderspace.models.backbones.preset import PARTS
from sliderspace.models.backbones.presets import PRESETS, preset_for
from sliderspace.models.configs import configs_of
from sliderspace.models.sources import reading, resolve

TABLE = "assets/costs.json"


@dataclass(frozen=True)
class Part:
    """One network on one image: values of its weights, arithmetic in TFLOP, and GiB alive beside the weights."""

    values: int
    tflop: float  # forward, rows of guidance included
    update_tflop: float  # forward and backward through frozen weights
    checkpointed_tflop: float  # the same with activations recomputed
    image_gib: float  # at the worst moment of a forward without gradients
    lane_gib: float  # at the worst moment of forward and backward
    checkpointed_gib: float

    def scaled(self, factor: float) -> "Part":
        """The same network on `factor` times as many pixels or values a pixel; the weights as they are."""
        return Part(self.values, *(factor * getattr(self, name) for name in _COSTS))


_COSTS = ("tflop", "update_tflop", "checkpointed_tflop", "image_gib", "lane_gib", "checkpointed_gib")


@dataclass(frozen=True)
class Layers:
    """The linear layers that sliders of some targets act on; inputs and outputs are summed over them."""

    count: int
    inputs: int
    outputs: int


@dataclass(frozen=True)
class Costs:
    """A model at its working point. `counted_on` is the preset whose counts stand in for a model that has none."""

    counted_on: str
    pixels: Size
    rows: int  # denoiser rows an image: 2 with classifier-free guidance
    latent_values: int
    text_gib: float  # while prompts are encoded, weights of the text encoders included
    stored_values: Mapping[str, int]  # of the parts that are fetched, by folder
    linear_values: int  # of the denoiser's linear layers, which a quantised base holds in fewer bits
    largest_linear: int
    layers: Mapping[str, Layers]
    denoiser: Part
    decoder: Part  # the small one where the preset has one
    own_decoder: Part


@dataclass(frozen=True)
class EncoderCosts:
    """An image encoder. `stored_values` are those of the file, which may hold a text tower too."""

    dim: int
    stored_values: int
    part: Part


_TOLD = {"time_cond_proj_dim", "guidance_embeds"}


@cache
def table() -> dict[str, Any]:
    """The stored table, as JSON holds it."""
    return json.loads((files("sliderspace") / TABLE).read_text(encoding="utf-8"))


def preset_costs(name: str) -> Costs:
    """The counted costs of a preset. Raises KeyError for a name that is none."""
    found: dict[str, Any] = dict(table()["models"][name])
    found |= {key: Part(**found[key]) for key in ("denoiser", "decoder", "own_decoder")}
    found["layers"] = {key: Layers(*numbers) for key, numbers in found["layers"].items()}
    return Costs(counted_on=name, **found)


def encoder_costs(location: str) -> EncoderCosts:
    """The counted costs of an encoder. One that has no name here is taken for CLIP, a folder in proportion to its
    size."""
    known, folder = table()["encoders"], resolve(location)
    found = known.get(location, known["clip"])
    costs = EncoderCosts(found["dim"], found["stored_values"], Part(**found["part"]))
    values = sum(prod(shape) for _, shape in _shapes(folder)) if location not in known and folder.is_dir() else 0
    if not values:
        return costs
    config = _json(folder / "config.json")
    dim = config.get("projection_dim") or config.get("hidden_size") or costs.dim
    return EncoderCosts(dim, values, _resized(costs.part, values))


# ---- any model


def costs_for(settings: Settings) -> Costs:
    """What the model of some settings costs at their resolution, guidance and decoder.

    A model that is no preset is taken for the preset it is most like: a folder's own sizes are read from its files, and
    arithmetic and memory follow in proportion. Raises BadInput where there is no such model.
    """
    preset = preset_for(settings.backbone)
    usual, folder = preset.guidance, configs_of(preset.location)
    is_preset = settings.backbone in PRESETS
    found = preset_costs(preset.name) if is_preset else _in_folder(preset_costs(_most_like(folder)), folder)
    guidance = usual if settings.guidance is None else settings.guidance
    # A network that reads its guidance as a number takes one row at any guidance.
    told = (
        found.rows == 1 and usual > 1
        if is_preset
        else bool(_TOLD & {k for k, v in _denoiser_config(folder).items() if v})
    )
    rows = 2 if guidance > 1 and not told else 1
    has_small = {"auto": preset.decoder, "full": ""}.get(settings.decoder, settings.decoder)
    decoder = found.decoder if has_small else found.own_decoder
    pixels = settings.resolution or found.pixels
    area = prod(sides(pixels)) / prod(sides(found.pixels))
    return replace(
        found,
        rows=rows,
        pixels=pixels,
        latent_values=round(found.latent_values * area),
        denoiser=found.denoiser.scaled(area * rows / found.rows),
        decoder=decoder.scaled(area),
        own_decoder=found.own_decoder.scaled(area),
    )


def _most_like(folder: Path) -> str:
    """The preset of the same pipeline class whose denoiser has the most settings in common with a folder's."""
    kind = _json(folder / "model_index.json").get("_class_name")
    own = _denoiser_config(folder)

    def alike(name: str) -> int:
        shipped = configs_of(PRESETS[name].location)
        same = _json(shipped / "model_index.json").get("_class_name") == kind
        other = _denoiser_config(shipped)
        return 1000 * same + sum(other.get(key) == value for key, value in own.items())

    return max(PRESETS, key=alike)


def _denoiser_config(folder: Path) -> dict[str, Any]:
    found = [folder / part / "config.json" for part in ("unet", "transformer")]
    return next((_json(path) for path in found if path.is_file()), {})


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def _in_folder(like: Costs, folder: Path) -> Costs:
    """A preset's costs at the picture's size of a pipeline folder, and on the sizes of its weights where they are
    there."""
    pixels, latent_values = _image_of(folder)
    area = prod(sides(pixels)) / prod(sides(like.pixels))
    found = replace(
        like,
        pixels=pixels,
        latent_values=latent_values,
        denoiser=like.denoiser.scaled(area),
        decoder=like.decoder.scaled(area),
        own_decoder=like.own_decoder.scaled(area),
    )
    shapes = {part.name: dict(_shapes(part)) for part in sorted(folder.iterdir()) if part.is_dir()}
    sizes = {name: sum(map(prod, found.values())) for name, found in shapes.items() if found and name in PARTS}
    component = "unet" if "unet" in sizes else "transformer"
    if not {component, "vae"} <= sizes.keys():
        return found
    linear = [prod(shape) for shape in shapes[component].values() if len(shape) == 2]
    return replace(
        found,
        stored_values=sizes,
        linear_values=sum(linear),
        largest_linear=max(linear, default=0),
        text_gib=like.text_gib * _text_values(sizes) / _text_values(like.stored_values),
        layers=_layers(folder, shapes[component]),
        denoiser=_resized(found.denoiser, sizes[component]),
        own_decoder=_resized(found.own_decoder, sizes["vae"]),
    )


def _text_values(sizes: Mapping[str, int]) -> int:
    return sum(values for name, values in sizes.items() if name.startswith("text_encoder"))


def _image_of(folder: Path) -> tuple[Size, int]:
    """Pixels, and values of its latents."""
    vae, scale = _json(folder / "vae" / "config.json"), vae_scale(folder)
    is_unet = (folder / "unet").is_dir()
    pixels = own_size(_denoiser_config(folder), scale) if is_unet else int(vae.get("sample_size", 1024))
    channels = int(vae.get("latent_channels") or vae.get("z_dim", 4))
    return pixels, channels * prod(side // scale for side in sides(pixels))


def _layers(folder: Path, shapes: Mapping[str, list[int]]) -> dict[str, Layers]:
    """Linear layers by target, from the names and shapes of stored weights [out, in]."""
    linear = {name.removesuffix(".weight"): shape for name, shape in shapes.items() if len(shape) == 2}

    def of(pattern: str) -> Layers:
        found = [shape for name, shape in linear.items() if re.fullmatch(pattern, name)]
        return Layers(len(found), sum(shape[1] for shape in found), sum(shape[0] for shape in found))

    return {targets: of(pattern) for targets, pattern in family_of(folder).layers.items()}


def _resized(part: Part, values: int) -> Part:
    return replace(part.scaled(values / part.values), values=values)


def _shapes(folder: Path) -> Iterator[tuple[str, list[int]]]:
    """Names and shapes of the tensors in a folder's safetensors files, from their headers; errors as `reading`."""
    for path in sorted(folder.glob("*.safetensors")):
        with reading(path), safe_open(path, framework="numpy") as file:
            yield from ((name, file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
