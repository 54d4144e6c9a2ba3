"""The run folder: whole files or none, each stamped with what it was made from.

A file is written under a temporary name, flushed to the disk and renamed, so a reader sees the old file or the new one
and never half of either. The stamp is a fingerprint of the inputs: a stage whose fingerprint is unchanged need not run
again. Files are safetensors, JSON and plain bytes; nothing is ever unpickled. The same contents give the same bytes.
"""

import errno
import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from safetensors import SafetensorError, safe_open

from sliderspace.core.errors import BadInput, DamagedFile, SliderSpaceError

if TYPE_CHECKING:
    import torch


FORMAT = "sliderspace/1"


STAMP = ("format", "kind", "fingerprint")


# One metadata entry and not four: safetensors writes several in an order that changes from run to run.
METADATA_KEY = "sliderspace"


TEMPORARY = re.compile(r"\..+\.(\d+)\.partial")


DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


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
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _flush_folder(path.parent)
    except (OSError, ValueError) as error:
        forget(temporary)
        raise explained(error, path, len(data)) from error
    except BaseException:  # Ctrl-C too must not leave the half-written file
        forget(temporary)
        raise


def forget(temporary: Path) -> None:
    with suppress(OSError, ValueError):
        temporary.unlink()


def _flush_folder(folder: Path) -> None:
    """Make the rename itself survive a power cut, where the system can."""
    with suppress(OSError):  # some network file systems refuse to flush a folder
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def explained(error: Exception, path: Path, needed: int) -> SliderSpaceError:
    if not isinstance(error, OSError):
        return BadInput(f"cannot write {str(path)!r}: {error}")
    if error.errno in DISK_FULL:
        return SliderSpaceError(
            f"no room to write {path}: it needs {needed / 1e6:.1f} MB and {_free(path)}.\n"
            "Make room (or choose another disk with --out), then give the same command again: it goes on where it "
            "stopped."
        )
    return BadInput(
        f"cannot write {path}: {error.strerror or error}.\nCheck the folder and its permissions, or choose another "
        f"with --out."
    )


def _free(path: Path) -> str:
    try:
        return f"{shutil.disk_usage(path.parent).free / 1e6:.1f} MB are free"
    except OSError:
        return "the disk is full"


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
    """Tensors with their stamp and JSON-able `meta` as safetensors, atomically. Takes the file's size again in
    memory."""
    from safetensors.torch import save

    stamp = json.dumps(
        {"format": FORMAT, "kind": kind, "fingerprint": fingerprint, "meta": plain(meta)}, sort_keys=True
    )
    save_bytes(path, save(_own_memory(tensors), metadata={METADATA_KEY: stamp}))


def _own_memory(tensors: "Mapping[str, torch.Tensor | np.ndarray[Any, Any]]") -> "dict[str, torch.Tensor]":
    """CPU copies that share nothing: safetensors refuses views of one storage, and torch read-only or reversed
    arrays."""
    import torch

    on_cpu = {
        name: v.detach().cpu() if isinstance(v, torch.Tensor) else torch.from_numpy(np.array(v))
        for name, v in tensors.items()
    }
    return {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in on_cpu.items()}


def load_json(path: str | Path, *, kind: str) -> dict[str, Any]:
    """What `save_json` was given. BadInput if there is no such file, DamagedFile if it is broken, foreign or of another
    kind."""
    path = Path(path)
    stamped = _read_json(path)
    _check_stamp(path, stamped, kind)
    return {key: value for key, value in stamped.items() if key not in STAMP}


def load_tensors(path: str | Path, *, kind: str) -> "tuple[dict[str, torch.Tensor], dict[str, Any]]":
    """The tensors and the `meta` that `save_tensors` was given; errors as `load_json`."""
    path = Path(path)
    stamp = _read_stamp(path)
    _check_stamp(path, stamp, kind)
    try:
        with _open_tensors(path, "pt") as file:
            return {name: file.get_tensor(name) for name in list(file.keys())}, stamp["meta"]
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, error) from error


def stored_fingerprint(path: str | Path) -> str | None:
    """The fingerprint a .safetensors or .json file was made from; None if there is no such file, DamagedFile if it
    cannot be read."""
    path = Path(path)
    if not exists(path):
        return None
    stamp = _read_stamp(path) if path.suffix == ".safetensors" else _read_json(path)
    _check_stamp(path, stamp, None)
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
        raise _unreadable(path, error) from error
    return cast("dict[str, Any]", data) if isinstance(data, dict) else {}


def _open_tensors(path: Path, framework: str) -> Any:
    return cast("Any", safe_open)(path, framework=framework)  # it carries no annotations


def _read_stamp(path: Path) -> dict[str, Any]:
    try:
        with _open_tensors(path, "np") as file:
            metadata = cast("dict[str, str]", file.metadata() or {})
        stamp: object = json.loads(metadata.get(METADATA_KEY, "{}"))
    except (OSError, SafetensorError, ValueError, RecursionError) as error:
        raise _unreadable(path, error) from error
    stamp = cast("dict[str, Any]", stamp) if isinstance(stamp, dict) else {}
    return stamp if isinstance(stamp.get("meta"), dict) else {}


def _unreadable(path: Path, error: Exception) -> BadInput:
    if isinstance(error, FileNotFoundError):
        return BadInput(f"there is no {path}.\nGive the folder of a finished run, or run `sliderspace discover` first.")
    if isinstance(error, OSError):
        return BadInput(f"cannot read {path}: {error.strerror or error}.\nCheck the path and its permissions.")
    return DamagedFile(
        f"{path} is damaged or cut short.\nIf it belongs to a run, delete it and give the same command again."
    )


def _check_stamp(path: Path, stamp: Mapping[str, Any], kind: str | None) -> None:
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
