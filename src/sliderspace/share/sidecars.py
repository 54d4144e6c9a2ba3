"""What lies beside an exported file: NAME.png, which ComfyUI, A1111, Forge and SD.Next show of it, and NAME.json, where
A1111 and Forge keep what a person notes of it.

Both are replaced only while they are as we wrote them: a picture of the user's own, or notes edited in such a program,
stay.
"""

import json
from contextlib import suppress
from pathlib import Path
from typing import cast

from PIL import Image

from sliderspace.core.arrays import Images
from sliderspace.share.metadata import ENTRY, About
from sliderspace.share.modelspec import Family, description, prompt, sentence, weight
from sliderspace.storage.files import save_bytes, save_text
from sliderspace.storage.images import encode_png
from sliderspace.storage.stamps import checksum


def write(path: Path, about: About, family: Family, cover: Images | None) -> None:
    """The files beside the LoRA file at `path`; no picture where there is none to show."""
    picture, notes = path.with_suffix(".png"), path.with_suffix(".json")
    if cover is not None and (not picture.exists() or _is_our_picture(picture)):
        save_bytes(picture, encode_png(cover, **{ENTRY: about.space}))
    if not notes.exists() or _are_our_notes(notes):
        said = _notes(about, family)
        save_text(notes, json.dumps({**said, ENTRY: checksum(said)}, indent=2) + "\n")


def remove(path: Path) -> None:
    """Without the files beside the LoRA file at `path` that are ours still."""
    for beside, is_ours in ((path.with_suffix(".png"), _is_our_picture), (path.with_suffix(".json"), _are_our_notes)):
        if beside.exists() and is_ours(beside):
            beside.unlink()


def _notes(about: About, family: Family) -> dict[str, object]:
    """In A1111's words: extensions-builtin/Lora/ui_edit_user_metadata.py at 0098b294."""
    return {
        "description": sentence(about),
        "sd version": family.webui,
        "activation text": prompt(about),
        "preferred weight": weight(about),
        "negative text": "",
        "notes": description(about, family),
    }


def _is_our_picture(path: Path) -> bool:
    with suppress(OSError, ValueError, SyntaxError, Image.DecompressionBombError), Image.open(path) as image:
        return ENTRY in image.info
    return False


def _are_our_notes(path: Path) -> bool:
    """Whether nobody has changed them since."""
    with suppress(OSError, ValueError, RecursionError):
        said: object = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(said, dict):
            notes = cast("dict[str, object]", said)
            return notes.pop(ENTRY, None) == checksum(notes)
    return False
