"""Pictures as uint8 arrays: encode, shrink, lay out. Everything here is [..., H, W, 3], 0 … 255, RGB."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from sliderspace.core.arrays import Images
from sliderspace.core.errors import BadInput
from sliderspace.storage.files import save_bytes

if TYPE_CHECKING:
    import torch

WHITE, INK, FAINT = 255, (40, 44, 52), (120, 126, 136)
EXACT_UP_TO = 64  # pixels: smaller pictures stay exact as PNG; of larger ones 500 would take 15 s and 8 MB, as JPEG 1.2
JPEG_QUALITY = 88
THUMBNAIL = 256  # pixels of a side that kept pictures are shrunk to


def checked(images: npt.ArrayLike, ndim: int) -> Images:
    """The array if it is `ndim`-dimensional uint8 RGB with something in it, else BadInput."""
    array = np.asarray(images)
    if array.dtype != np.uint8 or array.ndim != ndim or array.shape[-1] != 3 or 0 in array.shape[-3:]:
        raise BadInput(
            f"pictures are uint8 [..., height, width, 3] with {ndim} dimensions, got {array.dtype} {array.shape}"
        )
    return cast("Images", array)


# ---- encoding


def encode_png(image_HWC: npt.ArrayLike, **notes: str) -> bytes:
    """Lossless; `notes` are kept in the file as text."""
    info = PngImagePlugin.PngInfo()
    for key, value in notes.items():
        info.add_text(key, value)
    return _encoded(image_HWC, format="PNG", optimize=True, pnginfo=info)


def encode_jpeg(image_HWC: npt.ArrayLike, quality: int = JPEG_QUALITY) -> bytes:
    """Much smaller for photographs; never for images that will be measured."""
    return _encoded(image_HWC, format="JPEG", quality=quality, optimize=True)


def encode_gif(images_NHWC: npt.ArrayLike, milliseconds: int = 160) -> bytes:
    """The pictures there and back, over and over; 256 colours each."""
    images = checked(images_NHWC, 4)
    there = [
        Image.fromarray(np.ascontiguousarray(image)).quantize(dither=Image.Dither.FLOYDSTEINBERG) for image in images
    ]
    frames = [*there, *there[-2:0:-1]]
    buffer = io.BytesIO()
    frames[0].save(buffer, format="GIF", save_all=True, append_images=frames[1:], duration=milliseconds, loop=0)
    return buffer.getvalue()


def _encoded(image_HWC: npt.ArrayLike, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(checked(image_HWC, 3))).save(buffer, **options)  # pyright: ignore[reportArgumentType]
    return buffer.getvalue()


def save_png(path: str | Path, image_HWC: npt.ArrayLike) -> None:
    """Write a PNG, whole or not at all; errors as `store.save_bytes`."""
    save_bytes(path, encode_png(image_HWC))


def data_uri(image_HWC: npt.ArrayLike) -> str:
    """The picture as a `data:` address, for pages that must stand alone."""
    image = checked(image_HWC, 3)
    exact = max(image.shape[:2]) <= EXACT_UP_TO
    data = encode_png(image) if exact else encode_jpeg(image)
    return f"data:image/{'png' if exact else 'jpeg'};base64,{base64.b64encode(data).decode()}"


# ---- sizes and layouts


def thumbnails(images: npt.ArrayLike, size: int = THUMBNAIL) -> Images:
    """[..., H, W, 3] shrunk so that no side exceeds `size`, proportions kept; smaller ones are returned as they are."""
    array = np.asarray(images)
    array = checked(array, max(array.ndim, 3))
    height, width = array.shape[-3:-1]
    if max(height, width) <= size:
        return array
    new = (max(1, round(width * size / max(height, width))), max(1, round(height * size / max(height, width))))
    flat = [
        np.asarray(Image.fromarray(image).resize(new, Image.Resampling.LANCZOS))
        for image in array.reshape(-1, height, width, 3)
    ]
    return np.stack(flat).reshape(*array.shape[:-3], new[1], new[0], 3)


def grid(images_NHWC: npt.ArrayLike, columns: int, gap: int = 2) -> Images:
    """One picture of all, row by row, `gap` white pixels apart; an unfinished last row stays white."""
    images = checked(images_NHWC, 4)
    if columns < 1 or not len(images):
        raise BadInput(f"a grid needs at least one picture and one column, got {len(images)} and {columns}")
    count, height, width, _ = images.shape
    columns, rows = min(columns, count), -(-count // columns)
    page = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), WHITE, dtype=np.uint8)
    for index, image in enumerate(images):
        top, left = index // columns * (height + gap), index % columns * (width + gap)
        page[top : top + height, left : left + width] = image
    return page


def labelled_strip(images_SMHWC: npt.ArrayLike, column_labels: Sequence[str], row_labels: Sequence[str] = ()) -> Images:
    """A sheet of S rows and M columns with a label over each column and, if given, before each row."""
    images = checked(images_SMHWC, 5)
    rows, columns, height, width, _ = images.shape
    if len(column_labels) != columns or len(row_labels) not in (0, rows):
        raise BadInput(f"{rows} × {columns} pictures need {columns} column labels and {rows} or no row labels")
    font = ImageFont.load_default(max(11, min(22, width // 5)))
    top = _text_size(column_labels, font)[1] + 10
    left = _text_size(row_labels, font)[0] + 12 if row_labels else 0
    body = grid(images.reshape(-1, height, width, 3), columns)
    page = Image.new("RGB", (left + body.shape[1], top + body.shape[0]), (WHITE, WHITE, WHITE))
    page.paste(Image.fromarray(body), (left, top))
    pen = ImageDraw.Draw(page)
    plain = [label.replace("−", "-") for label in column_labels]  # the built-in font has no minus sign
    for m, label in enumerate(plain):
        pen.text((left + m * (width + 2) + width / 2, top / 2), label, font=font, fill=INK, anchor="mm")
    for s, label in enumerate(row_labels):
        pen.text((left - 6, top + s * (height + 2) + height / 2), label, font=font, fill=FAINT, anchor="rm")
    return np.asarray(page)


def _text_size(labels: Sequence[str], font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> tuple[int, int]:
    """Width and height that hold any of the labels."""
    boxes = [font.getbbox(label) for label in labels] or [(0, 0, 0, 0)]
    return int(max(box[2] for box in boxes)), int(max(box[3] for box in boxes))


def scale_label(scale: float) -> str:
    """+1.5, −3, or 0: how a strength is written over a picture."""
    return f"{scale:+g}".replace("-", "−") if scale else "0"


def to_uint8(images01_NCHW: "torch.Tensor") -> "torch.Tensor":
    """images01 [N, 3, H, W] -> uint8 [N, H, W, 3], rounded as diffusers does."""
    import torch

    return (images01_NCHW.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu()


def writable(folder: Path) -> Path:
    """The folder, made if need be. Raises BadInput where it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"cannot write to {folder}: {error.strerror}. Choose another folder with --out.") from error
    return folder
