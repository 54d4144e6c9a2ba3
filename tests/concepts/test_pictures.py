"""A folder of one's own pictures: order, geometry, colour, captions, fingerprints, and files that are not what they
seem."""

import io
import os
import shutil
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sliderspace.concepts.pictures import Pictures, read_folder
from sliderspace.core.errors import BadInput

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def noise(seed: int, width: int = 40, height: int = 40) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def bars(*colours: tuple[int, int, int], width: int = 20, height: int = 20) -> Image.Image:
    """Upright bars, left to right."""
    page = Image.new("RGB", (width * len(colours), height))
    for i, colour in enumerate(colours):
        page.paste(colour, (i * width, 0, (i + 1) * width, height))
    return page


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four pictures, one of each ending, two with captions, and things that are no pictures."""
    noise(0).save(tmp_path / "c.png")
    noise(1).save(tmp_path / "a.JPG", quality=95)
    noise(2).save(tmp_path / "b.jpeg")
    noise(3).save(tmp_path / "d.webp", lossless=True)
    (tmp_path / "a.txt").write_text("\ufeffa noisy\n picture ", encoding="utf-8")
    (tmp_path / "c.txt").write_text("  \n")
    (tmp_path / "notes.md").write_text("notes")
    (tmp_path / "._c.png").write_bytes(b"left by a Macintosh")
    (tmp_path / "more.png").mkdir()
    noise(4).save(tmp_path / "more.png" / "e.png")
    return tmp_path


def one(folder: Path, image: Image.Image, size: int = 16, name: str = "x.png", **options: object) -> np.ndarray:
    """uint8 [size, size, 3] of a picture saved alone in a folder."""
    folder.mkdir(exist_ok=True)
    image.save(folder / name, **options)
    images = read_folder(folder, size, least=1).images01(0, 1)
    return (images[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()


# ---- the folder


def test_pictures_come_in_order_of_name_with_their_captions(folder: Path) -> None:
    found = read_folder(folder, 40)
    assert [path.name for path in found.paths] == ["a.JPG", "b.jpeg", "c.png", "d.webp"]
    assert found.captions == ("a noisy picture", None, None, None)
    assert len(found) == 4 and found.skipped == () and found.size == 40


def test_pixels_are_those_of_the_files(folder: Path) -> None:
    images = read_folder(folder, 40).images01(2, 4)
    assert images.shape == (2, 3, 40, 40) and images.dtype == torch.float32 and images.is_contiguous()
    for image, seed in zip(images, (0, 3), strict=True):
        assert torch.equal(image, torch.from_numpy(np.asarray(noise(seed)).copy()).permute(2, 0, 1) / 255)


def test_a_batch_is_its_pictures_one_by_one(folder: Path) -> None:
    found = read_folder(folder, 24)
    assert torch.equal(found.images01(0, 4), torch.cat([found.images01(i, i + 1) for i in range(4)]))


def test_pictures_are_read_when_asked_for(folder: Path) -> None:
    found = read_folder(folder, 24)
    (folder / "b.jpeg").unlink()
    assert len(found.images01(2, 4)) == 2
    with pytest.raises(BadInput, match=r"b\.jpeg cannot be read: .*No such file"):
        found.images01(0, 2)


def test_a_picture_that_became_another_is_not_taken_for_the_first(folder: Path) -> None:
    found = read_folder(folder, 24)
    shutil.copy(found.paths[2], found.paths[0])
    with pytest.raises(BadInput, match="is another picture than when the run began"):
        found.images01(0, 1)


def test_the_fingerprint_follows_contents_and_not_names(folder: Path) -> None:
    def now(size: int = 24) -> str:
        return read_folder(folder, size).fingerprint

    first = now()
    os.utime(folder / "c.png", (1, 1))
    (folder / "notes.md").write_text("other notes")
    (folder / "c.png").rename(folder / "cc.png")  # still the third
    assert now() == first
    seen = {first, now(size=25)}
    for change in (
        lambda: (folder / "a.txt").write_text("another caption"),
        lambda: (folder / "b.txt").write_text("another caption"),
        lambda: noise(9).save(folder / "cc.png"),
        lambda: (folder / "cc.png").rename(folder / "0.png"),  # another order
        lambda: noise(5).save(folder / "z.png"),
    ):
        change()
        seen.add(now())
    assert len(seen) == 7


# ---- geometry


def test_a_wide_picture_keeps_its_centre_and_a_tall_one_too(tmp_path: Path) -> None:
    wide = bars(RED, GREEN, BLUE)
    assert (one(tmp_path / "wide", wide, 20) == GREEN).all()
    assert (one(tmp_path / "tall", wide.transpose(Image.Transpose.ROTATE_90), 20) == GREEN).all()
    half = one(
        tmp_path / "half", bars(RED, GREEN, GREEN, BLUE, width=10), 20
    )  # 40 × 20: the green middle is the square
    assert (half == GREEN).all()


def test_the_shorter_edge_becomes_the_size(tmp_path: Path) -> None:
    """A square ring at the very edge of the centre stays at the edge, so nothing more was cropped and nothing
    squeezed."""
    page = np.zeros((60, 90, 3), np.uint8)
    page[:, 15:75] = WHITE
    page[6:54, 21:69] = RED
    small = one(tmp_path, Image.fromarray(page), 20)
    assert (small[:, [0, -1]] > 200).all() and (small[[0, -1]] > 200).all()
    assert (np.abs(small[4:-4, 4:-4].astype(int) - RED) < 12).all()


def test_shrinking_averages(tmp_path: Path) -> None:
    page = (np.indices((160, 160)).sum(0) % 2 * 255).astype(np.uint8)
    assert (np.abs(one(tmp_path, Image.fromarray(page), 16).astype(int) - 128) < 4).all()


def test_a_small_picture_is_enlarged(tmp_path: Path) -> None:
    assert (one(tmp_path, Image.new("RGB", (5, 3), GREEN), 64) == GREEN).all()


def test_a_picture_thin_as_a_thread_needs_no_more_memory(tmp_path: Path) -> None:
    """Resizing it whole before the crop would make 512 × 15,360,000 pixels."""
    assert one(tmp_path, Image.new("RGB", (30_000, 1), BLUE), 512).shape == (512, 512, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_stands_as_its_camera_says(tmp_path: Path, orientation: int) -> None:
    turn = [
        None,
        Image.Transpose.FLIP_LEFT_RIGHT,
        Image.Transpose.ROTATE_180,
        Image.Transpose.FLIP_TOP_BOTTOM,
        Image.Transpose.TRANSPOSE,
        Image.Transpose.ROTATE_90,
        Image.Transpose.TRANSVERSE,
        Image.Transpose.ROTATE_270,
    ][orientation - 1]
    upright = bars(RED, GREEN, width=10)
    upright.paste(BLUE, (0, 0, 10, 10))
    stored = upright if turn is None else upright.transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(one(tmp_path, stored, 20, exif=exif), np.asarray(upright))


# ---- colour


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P", "RGB"])
def test_what_is_transparent_becomes_white(tmp_path: Path, mode: str) -> None:
    """Left half black and whole, right half black and transparent."""
    layer = Image.new("RGBA", (16, 16), (0, 0, 0, 255))
    layer.paste((0, 0, 0, 0), (8, 0, 16, 16))
    options: dict[str, object] = {}
    if mode in ("RGB", "P"):  # one colour, and not the alpha channel, is the transparent one
        flat = Image.new("P", (16, 16), 0) if mode == "P" else Image.new("RGB", (16, 16), (0, 0, 0))
        if flat.mode == "P":
            flat.putpalette([0, 0, 0, 9, 9, 9])
        flat.paste(1 if mode == "P" else (9, 9, 9), (8, 0, 16, 16))
        layer, options = flat, {"transparency": 1 if mode == "P" else (9, 9, 9)}
    elif mode != "RGBA":
        layer = layer.convert("LA") if mode == "LA" else layer.convert("P")
    seen = one(tmp_path, layer, **options)
    assert (seen[:, :8] == 0).all() and (seen[:, 8:] == 255).all()


def test_half_transparent_red_is_pink(tmp_path: Path) -> None:
    seen = one(tmp_path, Image.new("RGBA", (16, 16), (255, 0, 0, 128)), name="x.webp", lossless=True)
    assert (np.abs(seen.astype(int) - (255, 127, 127)) <= 1).all()


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK"])
def test_other_colour_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    page = bars(WHITE, (0, 0, 0), width=8).convert(mode)
    seen = one(tmp_path, page, name="x.jpg" if mode == "CMYK" else "x.png")
    assert (seen[:, :6] > 250).all() and (seen[:, -6:] < 5).all()


def test_sixteen_bits_of_grey_keep_their_scale(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 16).astype(np.uint16)
    seen = one(tmp_path, Image.fromarray(np.tile(ramp, (16, 1))))
    assert np.array_equal(seen, np.tile((ramp >> 8).astype(np.uint8)[None, :, None], (16, 1, 3)))


# ---- what cannot be used


def encoded(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def huge_png() -> bytes:
    """A PNG of 40,000 × 40,000 pixels in a few bytes."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.fixture
def damaged(folder: Path) -> dict[str, bytes]:
    """The folder again, with files that cannot be used, by name."""
    png, jpeg = encoded(noise(6, 90, 90), "PNG"), encoded(noise(7, 90, 90), "JPEG")
    files = {
        "cut.png": png[: len(png) // 2],
        "cut.jpg": jpeg[: len(jpeg) // 2],
        "empty.png": b"",
        "flipped.png": png[:60] + bytes([png[60] ^ 255]) + png[61:],
        "huge.png": huge_png(),
        "postscript.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n",
        "really.gif.png": encoded(noise(8), "GIF"),
        "words.webp": b"no picture at all",
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return files


def test_damaged_files_are_counted_and_named(folder: Path, damaged: dict[str, bytes]) -> None:
    started = time.monotonic()
    with pytest.raises(BadInput) as caught:
        read_folder(folder, 24)
    first, *rest = str(caught.value).splitlines()
    assert first.startswith(f"{len(damaged)} of {len(damaged) + 4} pictures are no use")
    assert [Path(line.split(" cannot be read: ")[0]).name for line in rest] == sorted(damaged)
    assert all(line.split(" cannot be read: ")[1].strip() for line in rest)
    assert time.monotonic() - started < 5


def test_damaged_files_can_be_skipped(folder: Path, damaged: dict[str, bytes]) -> None:
    found = read_folder(folder, 24, skip_damaged=True)
    assert found.skipped == tuple(sorted(damaged))
    for name in damaged:
        (folder / name).unlink()
    clean = read_folder(folder, 24)
    assert isinstance(clean, Pictures) and (clean.paths, clean.fingerprint) == (found.paths, found.fingerprint)


def test_too_large_a_picture_is_refused_before_it_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    noise(0, 40, 30).save(
        tmp_path / "x.png"
    )  # more than the limit, less than the double at which Pillow itself would stop
    with pytest.raises(BadInput, match="exceeds limit of 1000 pixels"):
        read_folder(tmp_path, 16, least=1)


def test_too_few_pictures_say_how_many_are_needed(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"holds 4 usable pictures .* at least 17 are needed"):
        read_folder(folder, 24, least=17)
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="holds 0 usable pictures"):
        read_folder(tmp_path / "empty", 24)


def test_no_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="No such file"):
        read_folder(tmp_path / "none", 24)
    (tmp_path / "file.png").write_bytes(encoded(noise(0), "PNG"))
    with pytest.raises(BadInput, match="Not a directory"):
        read_folder(tmp_path / "file.png", 24)


def test_a_caption_that_is_not_text_is_named(folder: Path) -> None:
    (folder / "b.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match=r"the caption .*b\.txt cannot be read"):
        read_folder(folder, 24)
