"""A person's own pictures as discovery data: a folder → images01 tensors, captions, and one fingerprint of it all."""

import hashlib
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from sliderspace.core.arrays import Images
from sliderspace.core.errors import BadInput
from sliderspace.core.sizes import Size, sides
from sliderspace.storage.files import fingerprint

ENDINGS = (".png", ".jpg", ".jpeg", ".webp")
FORMATS = (
    "PNG",
    "JPEG",
    "WEBP",
)  # whatever the name says: Pillow has older decoders too, and one of them starts a program


@dataclass(frozen=True)
class Pictures:
    """Files in order of name, with the captions beside them (None where there is none). `skipped` names damaged files
    left out.

    `fingerprint` follows from the size, and from the contents of pictures and captions in their order; not from names
    or dates.
    """

    paths: tuple[Path, ...]
    captions: tuple[str | None, ...]
    size: Size
    fingerprint: str
    digests: tuple[str, ...]
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    def images01(self, first: int, last: int) -> Tensor:
        """Pictures first … last−1 as float32 [B, 3, H, W] in [0, 1], read now. BadInput when a file has gone, broken
        or become another since."""
        images_BHWC = np.stack([self._read(n) for n in range(len(self))[first:last]])
        return torch.from_numpy(images_BHWC).permute(0, 3, 1, 2).contiguous().float() / 255

    def _read(self, n: int) -> Images:
        image, digest = _read(self.paths[n], self.size)
        if digest != self.digests[n]:
            raise BadInput(f"{self.paths[n]} is another picture than when the run began: give the command again")
        return image


def read_folder(folder: str | Path, size: Size, *, least: int = 2, skip_damaged: bool = False) -> Pictures:
    """The PNG, JPEG and WebP files right in `folder`, each to be cut to `size` pixels; `name.txt` is the caption of
    `name.jpg`.

    A picture is turned as its EXIF says, laid on white where it is transparent, resized until it covers the size (a
    smaller one is enlarged, and stays blurred) and cropped at the centre. Colour profiles are not applied. Every file
    is decoded once here, so that a damaged one is known before a long run: it raises BadInput, or with `skip_damaged`
    is left out. BadInput also when fewer than `least` remain.
    """
    folder = Path(folder)
    found = _listed(folder)
    digests: dict[Path, str] = {}
    damaged: list[str] = []
    for path in found:
        try:
            digests[path] = _read(path, size)[1]
        except BadInput as error:
            damaged.append(str(error))
    if damaged and not skip_damaged:
        what = f"{len(damaged)} of {len(found)} pictures are no use: repair or remove them, or have them skipped"
        raise BadInput("\n".join([what, *damaged]))
    if len(digests) < least:
        raise BadInput(
            f"{folder} holds {len(digests)} usable pictures ({', '.join(ENDINGS)}), and at least {least} are "
            f"needed: add some"
        )
    captions = tuple(map(_caption, digests))
    identity = fingerprint(size=size, pictures=list(zip(digests.values(), captions, strict=True)))
    skipped = tuple(p.name for p in found if p not in digests)
    return Pictures(tuple(digests), captions, size, identity, tuple(digests.values()), skipped)


def _listed(folder: Path) -> list[Path]:
    try:
        files = [
            path
            for path in folder.iterdir()
            if path.suffix.lower() in ENDINGS and not path.name.startswith(".") and path.is_file()
        ]
    except OSError as error:
        raise BadInput(f"cannot look into {folder}: {error.strerror or error}.\nGive a folder of pictures.") from error
    return sorted(files, key=lambda path: path.name)


def _caption(picture: Path) -> str | None:
    path = picture.with_suffix(".txt")
    try:
        return " ".join(path.read_text(encoding="utf-8-sig").split()) or None
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"the caption {path} cannot be read: save it as UTF-8 text") from error


def _read(path: Path, size: Size) -> tuple[Images, str]:
    """uint8 [H, W, 3] of a picture, and the hash of its file. BadInput says in one line what is wrong with it."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "blake2b").hexdigest()
            file.seek(0)
            return _cut(file, sides(size)), digest
    except (
        Exception
    ) as error:  # for a damaged file Pillow raises a dozen kinds, SyntaxError and struct.error among them
        raise BadInput(f"{path} cannot be read: {(str(error) or type(error).__name__).splitlines()[0]}") from error


def _cut(file: BinaryIO, size: tuple[int, int]) -> Images:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)  # more than 89 million pixels
        with Image.open(file, formats=FORMATS) as image:
            upright = _rgb(ImageOps.exif_transpose(image))
    return np.asarray(ImageOps.fit(upright, size, Image.Resampling.LANCZOS))


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey, which convert() would clip at 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
