"""Pictures as a page takes them: `data:` addresses."""

import base64
from typing import Self

from pydantic import BaseModel

from sliderspace.core.arrays import Images
from sliderspace.explore.studio import Drawn
from sliderspace.storage.images import encode_gif, encode_jpeg, encode_png, labelled_strip, scale_label

EXACT_UP_TO = 512  # pixels a side: drawn pictures stay exact up to here, larger ones are JPEG of high quality
QUALITY = 95


class Downloads(BaseModel):
    """A slider's sweep as a labelled PNG and as a GIF that goes there and back."""

    strip: str
    gif: str

    @classmethod
    def of(cls, images_SMHWC: Images, scales: list[float]) -> Self:
        strip = labelled_strip(images_SMHWC, [scale_label(round(s, 2)) for s in scales])
        gif = encode_gif(images_SMHWC[0])
        return cls(strip=_uri("png", encode_png(strip)), gif=_uri("gif", gif))


def drawn_pictures(drawn: Drawn) -> list[dict[str, str]]:
    """For each seed its base and its edited picture."""
    rows = zip(drawn.seeds, drawn.base, drawn.edited, strict=True)
    return [{"seed": str(seed), "base": picture(base), "edited": picture(edited)} for seed, base, edited in rows]


def picture(image_HWC: Images) -> str:
    if max(image_HWC.shape[:2]) <= EXACT_UP_TO:
        return _uri("png", encode_png(image_HWC))
    return _uri("jpeg", encode_jpeg(image_HWC, QUALITY))


def _uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
