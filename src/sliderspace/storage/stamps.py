"""What every stored file says of itself: that it is ours, its kind, and what it was made from."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sliderspace.core.errors import BadInput, DamagedFile

FORMAT = "sliderspace/2"
STAMP = ("format", "kind", "fingerprint")


def unreadable(path: Path, error: Exception) -> BadInput:
    if isinstance(error, FileNotFoundError):
        return BadInput(f"there is no {path}.\nGive the folder of a finished run, or run `sliderspace discover` first.")
    if isinstance(error, OSError):
        return BadInput(f"cannot read {path}: {error.strerror or error}.\nCheck the path and its permissions.")
    return damaged(path)


def damaged(path: Path, how: str = "is damaged or cut short") -> DamagedFile:
    return DamagedFile(f"{path} {how}.\nIf it belongs to a run, delete it and give the same command again.")


def check_stamp(path: Path, stamp: Mapping[str, Any], kind: str | None) -> None:
    """DamagedFile unless the stamp is ours, whole, and of this kind."""
    format_ = stamp.get("format")
    if not isinstance(format_, str) or not all(isinstance(stamp.get(key), str) for key in STAMP):
        raise DamagedFile(f"{path} was not written by sliderspace.\nGive a file of a run folder.")
    if format_ != FORMAT:
        raise DamagedFile(
            f"{path} has format {format_[:40]!r}, not {FORMAT!r}.\nInstall the version that wrote it, or redo the run."
        )
    if kind is not None and stamp["kind"] != kind:
        raise DamagedFile(
            f"{path} holds {stamp['kind'][:40]!r}, not {kind!r}.\nIt may have been renamed or copied to the wrong "
            f"place."
        )


def checksum(stamp: Mapping[str, object]) -> str:
    """16 hex digits over everything a tensor file's stamp says but this."""
    text = json.dumps({key: value for key, value in stamp.items() if key != "checksum"}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
