"""Stored results: JSON and tensors, each stamped with what it was made from.

A reader sees the old file or the new one and never half of either. The stamp holds a fingerprint of the inputs: a stage
whose fingerprint is unchanged need not run again. Files are safetensors, JSON and plain bytes; nothing is ever
unpickled. The same contents give the same bytes.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from sliderspace.core.errors import BadInput
from sliderspace.storage.atomic import replacing
from sliderspace.storage.stamps import FORMAT, STAMP, check_stamp, unreadable
from sliderspace.storage.tensors import Replaced, open_tensors, read_stamp, write_tensors

if TYPE_CHECKING:
    import torch


def plain(value: object, *, finite: bool = False) -> Any:
    """`value` as JSON knows it. A number that is not finite becomes null, or with `finite` a BadInput; unknown types a
    TypeError."""
    if isinstance(value, np.ndarray | np.generic):
        return plain(cast("object", value.tolist()), finite=finite)
    if isinstance(value, float) and not math.isfinite(value):
        if finite:
            raise BadInput(f"{value} is not a number that can be stored here")
        return None
    if isinstance(value, Mapping):
        return {_key(k): plain(v, finite=finite) for k, v in cast("Mapping[object, object]", value).items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [plain(v, finite=finite) for v in cast("Sequence[object]", value)]
    return value


def _key(key: object) -> str:
    if not isinstance(key, str):  # json would write 1 and "1" as the same key
        raise TypeError(f"keys of stored data are text, got {key!r}")
    return key


def fingerprint(**inputs: object) -> str:
    """A short hash of JSON-able inputs, the same on every machine; the order of keys does not matter, that of lists
    does."""
    text = json.dumps(plain(inputs, finite=True), sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=10).hexdigest()


def save_bytes(path: str | Path, data: bytes) -> None:
    """Put `data` at `path`, all of it or nothing. SliderSpaceError when the disk is full, BadInput when `path` cannot
    be written."""
    with replacing(Path(path), len(data)) as temporary:
        temporary.write_bytes(data)


def save_text(path: str | Path, text: str) -> None:
    """`text` as UTF-8, atomically; what UTF-8 cannot say becomes a question mark."""
    save_bytes(path, text.encode(errors="replace"))


def save_json(path: str | Path, data: Mapping[str, object], *, kind: str, fingerprint: str) -> None:
    """`data` with its stamp as readable JSON, atomically; NumPy values become plain ones, NaN and infinities null."""
    if taken := set(STAMP) & set(data):
        raise ValueError(f"{sorted(taken)} are the store's own keys")
    stamped = {"format": FORMAT, "kind": kind, "fingerprint": fingerprint, **plain(data)}
    text = json.dumps(stamped, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    save_bytes(
        path, text.encode(errors="surrogatepass")
    )  # a prompt typed in a broken terminal is kept as it is; json reads it back


def save_tensors(
    path: str | Path,
    tensors: "Mapping[str, torch.Tensor | np.ndarray[Any, Any]]",
    *,
    kind: str,
    fingerprint: str,
    **meta: object,
) -> None:
    """Tensors with their stamp, checksums and JSON-able `meta` as safetensors, atomically."""
    write_tensors(Path(path), tensors, {"kind": kind, "fingerprint": fingerprint, "meta": plain(meta)})


def load_json(path: str | Path, *, kind: str) -> dict[str, Any]:
    """What `save_json` was given. BadInput if there is no such file, DamagedFile if it is broken, foreign or of another
    kind."""
    path = Path(path)
    stamped = _read_json(path)
    check_stamp(path, stamped, kind)
    return {key: value for key, value in stamped.items() if key not in STAMP}


def load_tensors(
    path: str | Path, *, kind: str, expect: Mapping[str, str] | None = None, finite: bool = True
) -> "tuple[dict[str, torch.Tensor], dict[str, Any]]":
    """The tensors and the `meta` that `save_tensors` was given; errors as `load_json`, and DamagedFile when a checksum
    does not hold, with `finite` when a value is NaN or infinite, or when a tensor is not as expected:

    `expect={"x": "float16 N T 4 H W", "z": "float32 N T D"}` asks for these tensors in these types and shapes, where a
    letter stands for the same number everywhere.
    """

    def read() -> "tuple[dict[str, torch.Tensor], dict[str, Any]]":
        file = open_tensors(path, kind=kind, expect=expect, finite=finite)
        return {name: file.whole(name) for name in file.parts}, file.meta

    try:
        return read()
    except Replaced:  # by another worker, which made the same
        return read()


def stored_fingerprint(path: str | Path) -> str | None:
    """The fingerprint a .safetensors or .json file was made from; None if there is no such file, DamagedFile if it
    cannot be read."""
    path = Path(path)
    if not exists(path):
        return None
    stamp = read_stamp(path) if path.suffix == ".safetensors" else _read_json(path)
    check_stamp(path, stamp, None)
    return stamp["fingerprint"]


def is_done(path: str | Path, fingerprint: str) -> bool:
    """Whether `path` holds the finished result of exactly these inputs; DamagedFile if it cannot be read."""
    return stored_fingerprint(path) == fingerprint


def exists(path: Path) -> bool:
    """Also False where one may not look; reading or writing there then says why."""
    try:
        return path.exists()
    except OSError:
        return False


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data: object = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise unreadable(path, error) from error
    return cast("dict[str, Any]", data) if isinstance(data, dict) else {}
