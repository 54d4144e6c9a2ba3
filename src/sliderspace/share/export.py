"""Sliders as LoRA files for other programs, one file a slider or one of a whole mix, each with a picture and notes
beside it. `importing` reads them back.

In a file, strength 1.0 is `unit` natural units: the scale is multiplied into the up-projection, since not every layout
carries one.
"""

import base64
import hashlib
import json
import math
import re
from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sliderspace.core.arrays import Images
from sliderspace.core.errors import BadInput, DamagedFile, SliderSpaceError
from sliderspace.core.text import one_line
from sliderspace.measure.results import Measures, SpaceFile
from sliderspace.models.backbones import PRESETS
from sliderspace.models.load import empty_denoiser
from sliderspace.models.sources import is_repo
from sliderspace.share import modelspec, sidecars
from sliderspace.share.lora_names import component_of, family_of, keys_for
from sliderspace.share.metadata import CHECKSUM, ENTRY, About, about, about_in, checksum_of
from sliderspace.share.modelspec import Family, family
from sliderspace.share.pictures import before_and_after, square, stored_strips
from sliderspace.share.places import shareable, short_name
from sliderspace.space.labels import Label
from sliderspace.space.space import SliderSpace
from sliderspace.storage.files import fingerprint, save_bytes
from sliderspace.storage.images import encode_jpeg, scale_label, writable
from sliderspace.storage.run_folder import RunFolder

Pictures = tuple[Images, Images] | None  # a sheet to read, and a small square
# UTF-8 bytes of a part of a file name: three of them, a number, a mark and the temporary name's end fit into 255.
PART = 60
PIXELWISE = ("proj_in", "proj_out", "conv_shortcut")  # layers that are convolutions of one pixel in some models


def export(
    space: SliderSpace, folder: str | Path, *, sliders: Sequence[int] | None = None, unit: float = 1.0
) -> list[Path]:
    """Write one LoRA file for each of `sliders` (all if None) into `folder`; a strength of 1.0 in other programs is
    `unit` natural units. Beside each lie a strip, NAME.png, and A1111's notes, NAME.json.

    The same space gives the same bytes; the files that a slider had under an earlier name go, and what somebody changed
    beside them stays. Raises BadInput: no such
    slider, a unit that is not above 0, nowhere to write, or a file in the way that is not of this space; then nothing
    is written.
    """
    if not (math.isfinite(unit) and unit > 0):
        raise BadInput(f"a unit of {unit:g}: strength 1.0 has to be some natural units above 0, for example 1")
    chosen = list(range(len(space)) if sliders is None else sliders)
    space.strengths(dict.fromkeys(chosen, 0.0))  # raises for sliders there are not
    folder = writable(Path(folder))
    notes = slider_notes(space)
    settings, made_from = shareable(space.settings), space.made_from
    paths = [folder / file_name(settings.prompts[0], settings.backbone, k, notes[k]["label"].sure_name) for k in chosen]
    for path in paths:
        _check_replaceable(path, made_from)
    known = known_as(space)
    strips = stored_strips(RunFolder(space.folder))
    shared = {"space": made_from, "unit": unit, "component": component_of(_layers(space))}
    date, convolutions = _date_of(RunFolder(space.folder).sliders), _convolutions(space)
    for k, path in zip(chosen, paths, strict=True):
        _remove_other_names(path, file_name(settings.prompts[0], settings.backbone, k, None), made_from)
        said = about(settings, space.directions, k, **shared, **notes[k])
        pictures = strips and (strips.cover(k), strips.icon(k))
        tensors = _tensors(space, {k: unit}, convolutions)
        save_bytes(path, _lora_file(tensors, said, known, date, pictures))
        sidecars.write(path, said, known, pictures and pictures[0])
    return paths


def export_mix(
    space: SliderSpace,
    folder: str | Path,
    strengths: Mapping[int, float],
    *,
    name: str = "",
    pictures: Images | None = None,
) -> Path:
    """Write the sliders of a mix {slider: natural units} into `folder` as one LoRA file, which draws at strength 1.0
    what `SliderSpace.generate` draws with these strengths. Its rank is the sum of theirs.

    `name` is a part of the file's name; without one, the sliders are. A mix of the same name is replaced, and one whose
    name differs in signs alone is not. `pictures` uint8 [S, 2, H, W, 3], of S seeds without and with the mix, lie
    beside it and in it. Raises BadInput as `export`, and where no slider is turned.
    """
    turned = {int(k): float(value) for k, value in sorted(strengths.items()) if value}
    space.strengths(turned)  # raises for sliders there are not, and what is no number
    if not turned:
        raise BadInput("no slider is turned: a mix needs at least one, for example --set 3=1.5")
    _check_there(space)
    run, settings, known = RunFolder(space.folder), shareable(space.settings), known_as(space)
    labels = space.labels
    named = [labels[k].sure_name for k in turned]
    said = about(
        settings,
        None,
        None,
        space=space.made_from,
        unit=1.0,
        component=component_of(_layers(space)),
        label=_label_of_mix(one_line(name), named, turned),
        mix=turned,
    )
    parts = [own or f"{k:02d}" for k, own in zip(turned, named, strict=True)]
    title = name if _slug(name) else " ".join([fingerprint(mix=list(turned.items()))[:6], *parts])
    path = _place_of_mix(writable(Path(folder)) / file_name(settings.prompts[0], settings.backbone, "mix", title), said)
    _check_replaceable(path, said.space)
    images = None if pictures is None else (before_and_after(pictures), square(pictures))
    tensors = _tensors(space, turned, _convolutions(space))
    save_bytes(path, _lora_file(tensors, said, known, _date_of(run.sliders), images))
    sidecars.write(path, said, known, images and images[0])
    return path


def _place_of_mix(path: Path, said: About) -> Path:
    """`path`, or one with a mark of the mix's name where a mix of this space has another name and the same file's:
    "horns +2" and "horns -2"."""
    apart, there = path.with_stem(f"{path.stem}-{fingerprint(name=said.name)[:6]}"), _about_at(path)
    other = there is not None and there.space == said.space and there.mix is not None and there.name != said.name
    return apart if other or apart.exists() else path


def _label_of_mix(name: str, named: Sequence[str | None], strengths: Mapping[int, float]) -> Label:
    """Its name, and what it is made of in a sentence."""
    listed = zip(named, strengths.items(), strict=True)
    parts = [f"{known or f'slider {k}'} {scale_label(round(value, 2))}" for known, (k, value) in listed]
    title = name or f"mix of {len(parts)} slider{'' if len(parts) == 1 else 's'}"
    return Label(name=title, proposed=title, passed=True, sentence=f"A mix: {', '.join(parts)}.")


def known_as(space: SliderSpace) -> Family:
    """What other programs call the base model of a space, as far as this machine can tell without a network."""
    s = space.settings
    resolution = s.resolution or 0
    if s.backbone in PRESETS or not is_repo(s.backbone):
        with suppress(SliderSpaceError):  # a folder of another machine
            resolution = space.point.image_size
    return family(kind_of(space), s.backbone, resolution)


def kind_of(space: SliderSpace) -> str:
    """The models that a space's layers fit, as `lora_names.family_of` names them."""
    return family_of({layer: space.values[f"{layer}.down"] for layer in _layers(space)})


def _layers(space: SliderSpace) -> list[str]:
    return [name.removesuffix(".down") for name in space.values if name.endswith(".down")]


def _date_of(path: Path) -> str:
    """The day, in UTC, on which a file was last written."""
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).date().isoformat()


def _pictures(images: Pictures) -> dict[str, str]:
    """A small square for ModelSpec, and the strip for programs that read `ssmd_cover_images`."""
    if images is None:
        return {}
    cover, icon = (base64.b64encode(encode_jpeg(image)).decode() for image in images)
    return {"modelspec.thumbnail": f"data:image/jpeg;base64,{icon}", "ssmd_cover_images": json.dumps([cover])}


def slider_notes(space: SliderSpace) -> list[dict[str, Any]]:
    """For each slider its `label`, and its `measures` where the run folder has those of this space (else None). Raises
    BadInput where it holds another space by now."""
    run, own = RunFolder(space.folder), _check_there(space)
    listed = own.sliders
    there = run.measures.exists() and run.measures not in own.foreign(run)
    measured = Measures.read(run.measures).sliders if there else [entry.measures for entry in listed]
    if len(measured) != len(listed):
        raise DamagedFile(f"{run.measures} is not of these {len(listed)} sliders.\n{Measures.mending(run.measures)}")
    found = [None if m is None else m.model_dump(mode="json", exclude_unset=True) for m in measured]
    return [{"label": label, "measures": m} for label, m in zip(space.labels, found, strict=True)]


def _check_there(space: SliderSpace) -> SpaceFile:
    """BadInput where its folder holds other sliders than these by now: their dates, measures and pictures lie there."""
    own = SpaceFile.read(RunFolder(space.folder).space)
    if own.made_from.sliders != space.made_from:
        raise BadInput(
            f"{space.folder} holds other sliders by now, or a run that was broken off: load it again, or go on with it."
        )
    return own


def file_name(prompt: str, model: str, which: int | str, name: str | None) -> str:
    """What a user sees in the LoRA menus of other programs: a-robot--sdxl-03-red-hair.safetensors."""
    concept = f"{_slug(prompt) or 'slider'}--{_slug(short_name(model)) or 'model'}"
    part = which if isinstance(which, str) else f"{which:02d}"
    return "-".join([concept, part, *filter(None, [_slug(name or "")])]) + ".safetensors"


def _slug(text: str) -> str:
    """Text as a part of a file name that every system takes."""
    cut = re.sub(r"[\W_]+", "-", text.casefold())[:40].encode()[:PART]
    return cut.decode(errors="ignore").strip("-")  # a character cut in two goes whole


def _check_replaceable(path: Path, space: str) -> None:
    """BadInput where `path` holds anything but a slider of this space."""
    if path.exists() and getattr(_about_at(path), "space", None) != space:
        raise BadInput(
            f"{path} is not a slider of this space, so it was not replaced and nothing was written.\n"
            f"Export into another folder with --out, or delete that file first."
        )


def _remove_other_names(path: Path, unnamed: str, space: str) -> None:
    """Without the file that a slider of this space had under an earlier name or none (`unnamed`): two of them cannot be
    imported together."""
    stem = Path(unnamed).stem
    for other in path.parent.glob("*.safetensors"):
        own = other.stem == stem or other.stem.startswith(f"{stem}-")
        if own and other != path and getattr(_about_at(other), "space", None) == space:
            other.unlink()
            sidecars.remove(other)


def _about_at(path: Path) -> About | None:
    """What the file at `path` says of its slider; None if it is not ours, or cannot be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:  # pyright: ignore[reportUnknownVariableType]
            return about_in(path, file.metadata() or {})
    except (OSError, SafetensorError, ValueError, BadInput):
        return None


def _convolutions(space: SliderSpace) -> set[str]:
    """The layers that are convolutions of one pixel. Where the model is of another machine, as it is in its family."""
    asked = {path for path in _layers(space) if path.endswith(PIXELWISE) and component_of([path]) == "unet"}
    try:
        modules = dict(empty_denoiser(space.point).named_modules()) if asked else {}
    except SliderSpaceError:
        return {path for path in asked if path.endswith("conv_shortcut") or kind_of(space) == "sd1"}
    return {path for path in asked if isinstance(modules.get(path), nn.Conv2d)}


def _tensors(space: SliderSpace, strengths: Mapping[int, float], convolutions: Container[str]) -> dict[str, Tensor]:
    """Σₖ sₖ·Bₖ Aₖ is one product: the Aₖ below each other, times the sₖ·Bₖ beside each other."""
    tensors: dict[str, Tensor] = {}
    component = component_of(_layers(space))
    for path in _layers(space):
        keys, down_KRI, up_KOR = keys_for(path, component), *(space.values[f"{path}.{h}"] for h in ("down", "up"))
        a_RI = torch.cat([down_KRI[k].float() for k in strengths])
        b_OR = torch.cat([up_KOR[k].float() * (float(space.units_K[k]) * s) for k, s in strengths.items()], dim=1)
        place = (..., None, None) if path in convolutions else ...
        tensors |= {keys.down: a_RI[place], keys.up: b_OR[place]}
        if keys.alpha:
            tensors[keys.alpha] = torch.tensor(float(len(a_RI)))
    return {name: t.detach().cpu().contiguous() for name, t in tensors.items()}


def _lora_file(tensors: dict[str, Tensor], about: About, known: Family, date: str, images: Pictures) -> bytes:
    ours = {"format": "pt", ENTRY: json.dumps(about.model_dump())}
    ours[CHECKSUM] = checksum_of(ours, tensors)
    return _serialised(
        tensors, lambda digest: {**ours, **modelspec.keys(about, known, date=date, digest=digest), **_pictures(images)}
    )


def _serialised(tensors: dict[str, Tensor], metadata: Callable[[str], Mapping[str, str]]) -> bytes:
    """A safetensors file with the metadata that `metadata` makes of the SHA-256 of its values. They are in order: the
    library writes them in one that changes from run to run."""
    from safetensors.torch import save

    data = save(tensors)
    end = 8 + int.from_bytes(data[:8], "little")
    said = dict(sorted(metadata(hashlib.sha256(data[end:]).hexdigest()).items()))
    text = json.dumps({"__metadata__": said, **json.loads(data[8:end])}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the values begin at a multiple of 8 bytes
    return len(text).to_bytes(8, "little") + text + data[end:]
