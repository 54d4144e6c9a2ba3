"""Tensors as safetensors files with checksums, read whole or row by row.

The stamp lists every tensor's type, shape and checksum, and carries a checksum of itself: a bit that flips anywhere is
found before a value is used. What is large is never held twice: values are written from where they lie, and rows are
read from the disk when they are asked for.
"""

import hashlib
import json
import os
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from sliderspace.core.errors import DamagedFile
from sliderspace.storage.atomic import replacing
from sliderspace.storage.stamps import FORMAT, check_stamp, checksum, damaged, unreadable

if TYPE_CHECKING:
    import torch

# One metadata entry and not four: safetensors gives no order to several.
METADATA_KEY = "sliderspace"
TYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}
NAMES = {ours: theirs for theirs, ours in TYPES.items()}
CHUNK = 2**20  # bytes read at a time

# Files whose tensors this process has found whole, as (folder entry's identity, tensor).
_verified: set[tuple[tuple[str, int, int, int], str]] = set()


@dataclass(frozen=True)
class Part:
    """One tensor in a file: its bytes are those from `begin`, of which `digest` is the checksum."""

    dtype: str
    shape: tuple[int, ...]
    digest: str
    begin: int

    @property
    def form(self) -> str:
        return " ".join([self.dtype, *map(str, self.shape)])

    def row_bytes(self, depth: int) -> int:
        """Bytes of what `depth` leading indices pick."""
        import torch

        return getattr(torch, self.dtype).itemsize * prod(self.shape[depth:])


# ---- writing


def write_tensors(
    path: Path, tensors: "Mapping[str, torch.Tensor | np.ndarray[Any, Any]]", stamp: Mapping[str, object]
) -> None:
    """Put tensors with their stamp into a safetensors file, atomically and without a second copy in memory. The same
    contents give the same bytes."""
    ready = {name: _ready(tensors[name]) for name in sorted(tensors)}
    # Wide types first, so that every value is aligned, as the format asks.
    ordered = dict(sorted(ready.items(), key=lambda item: -item[1].element_size()))
    whole = {"format": FORMAT, **stamp, "tensors": listed(ordered)}
    text = json.dumps({**whole, "checksum": checksum(whole)}, sort_keys=True)
    header = _header(ordered, text)
    size = len(header) + sum(t.nbytes for t in ordered.values())
    with replacing(path, size) as temporary, temporary.open("wb") as file:
        file.write(header)
        for tensor in ordered.values():
            file.write(_bytes(tensor))


def listed(tensors: "Mapping[str, torch.Tensor]") -> dict[str, list[object]]:
    """Type, shape and checksum of each of some tensors that lie in the CPU's memory, as JSON."""
    return {name: [_dtype(t), list(t.shape), _digest([_bytes(t)])] for name, t in tensors.items()}


def _ready(value: "torch.Tensor | np.ndarray[Any, Any]") -> "torch.Tensor":
    """The values in the CPU's memory, in order; copied only where they do not lie so."""
    import torch

    tensor = value if isinstance(value, torch.Tensor) else torch.from_numpy(np.require(value, requirements=["C", "W"]))
    return tensor.detach().cpu().contiguous()


def _header(tensors: "Mapping[str, torch.Tensor]", stamp: str) -> bytes:
    """The head of a safetensors file: its length in 8 bytes, then JSON that says where each tensor lies."""
    entries: dict[str, object] = {"__metadata__": {METADATA_KEY: stamp}}
    end = 0
    for name, tensor in tensors.items():
        begin, end = end, end + tensor.nbytes
        entries[name] = {"dtype": NAMES[_dtype(tensor)], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _dtype(tensor: "torch.Tensor") -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _bytes(tensor: "torch.Tensor") -> memoryview:
    import torch

    return memoryview(cast("Any", tensor.reshape(-1).view(torch.uint8).numpy()))


def _digest(chunks: Iterable[memoryview]) -> str:
    found = hashlib.sha256()  # of the standard library's the fastest on today's processors
    for chunk in chunks:
        found.update(chunk)
    return found.hexdigest()[:16]


# ---- reading


def read_stamp(path: Path) -> dict[str, Any]:
    """The stamp of a tensor file; empty where it has none. BadInput if there is no such file, DamagedFile if it is
    broken."""
    return _read_head(path)[0]


def _read_head(path: Path) -> tuple[dict[str, Any], dict[str, Part]]:
    """The stamp, and the tensors, which header and stamp must agree on; a stamp that is not ours comes without."""
    try:
        with cast("Any", safe_open)(path, framework="np") as file:  # it alone knows all that can be wrong with a header
            metadata = cast("dict[str, str]", file.metadata() or {})
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = cast("dict[str, Any]", json.loads(file.read(length)))
        found: object = json.loads(metadata.get(METADATA_KEY, "null"))
        stamp = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
        whole = stamp.get("checksum") == checksum(stamp)
    except (OSError, SafetensorError, ValueError, RecursionError) as error:
        raise unreadable(path, error) from error
    if stamp.get("format") != FORMAT:
        return stamp, {}
    entries = {n: (TYPES.get(e["dtype"]), e["shape"]) for n, e in header.items() if n != "__metadata__"}
    if not whole or entries != {n: (dtype, shape) for n, (dtype, shape, _) in stamp["tensors"].items()}:
        raise damaged(path, "is damaged: its head is not what was written")
    begins = {n: 8 + length + header[n]["data_offsets"][0] for n in entries}
    return stamp, {n: Part(d, tuple(s), digest, begins[n]) for n, (d, s, digest) in stamp["tensors"].items()}


class Replaced(DamagedFile):
    """A file that is another than the one whose head was read."""


@dataclass(frozen=True)
class TensorFile:
    """A stored file of which only the rows asked for are read. It holds nothing open."""

    path: Path
    meta: dict[str, Any]
    parts: dict[str, Part]
    identity: tuple[str, int, int, int]
    finite: bool = True

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: part.shape for name, part in self.parts.items()}

    def whole(self, name: str) -> "torch.Tensor":
        """All of a tensor, tested as it is read; errors as `rows`."""
        import torch

        part = self.parts[name]
        found = torch.empty(part.shape, dtype=getattr(torch, part.dtype))
        with self._opened() as file:
            file.seek(part.begin)
            _fill(file, _bytes(found))
        self._compare(name, _digest([_bytes(found)]))
        return self._tested(name, found)

    def rows(self, name: str, index: "slice | npt.ArrayLike") -> "torch.Tensor":
        """Those of a tensor's rows: `[3, 0, 3]` picks along the first axis, `[(3, 0), (7, 2)]` along the first two.

        Raises DamagedFile when the tensor is not what was written (its bytes are tested when first touched, and again
        only if the file changes) or, unless the file was opened with `finite=False`, a row is not finite.
        """
        import torch

        part = self.parts[name]
        spans, depth, count = _spans(index, part.shape)
        step = part.row_bytes(depth)
        found = torch.empty((count, *part.shape[depth:]), dtype=getattr(torch, part.dtype))
        left = _bytes(found)
        with self._opened() as file:
            self._verify(file, name)
            for first, rows in spans:
                file.seek(part.begin + first * step)
                _fill(file, left[: rows * step])
                left = left[rows * step :]
        return self._tested(name, found)

    @contextmanager
    def _opened(self) -> Generator[FileIO]:
        try:
            with self.path.open("rb", buffering=0) as file:
                if _identity(self.path, file) != self.identity:
                    raise Replaced(str(damaged(self.path, "changed while it was read")))
                yield file
        except (OSError, EOFError) as error:
            raise unreadable(self.path, error) from error

    def _verify(self, file: FileIO, name: str) -> None:
        if (self.identity, name) not in _verified:
            part = self.parts[name]
            file.seek(part.begin)
            self._compare(name, _digest(_chunks(file, part.row_bytes(0))))
            _verified.add((self.identity, name))

    def _compare(self, name: str, digest: str) -> None:
        if digest != self.parts[name].digest:
            raise damaged(self.path, f"is damaged: the values of {name} are not those that were written")

    def _tested(self, name: str, found: "torch.Tensor") -> "torch.Tensor":
        if self.finite and not _is_finite(found):
            raise damaged(self.path, f"holds values of {name} that are not finite numbers")
        return found


def open_tensors(
    path: str | Path, *, kind: str, expect: Mapping[str, str] | None = None, finite: bool = True
) -> TensorFile:
    """A stored file to read rows from; `expect` and errors as `load_tensors`."""
    path = Path(path)
    try:
        with path.open("rb", buffering=0) as file:
            identity = _identity(path, file)
    except OSError as error:
        raise unreadable(path, error) from error
    stamp, parts = _read_head(path)
    check_stamp(path, stamp, kind)
    if unfit := _unfit(parts, expect or {}):
        raise damaged(path, unfit)
    return TensorFile(path, stamp["meta"], parts, identity, finite)


def _identity(path: Path, file: FileIO) -> tuple[str, int, int, int]:
    found = os.fstat(file.fileno())
    return str(path.absolute()), found.st_ino, found.st_size, found.st_mtime_ns


def _spans(index: "slice | npt.ArrayLike", shape: tuple[int, ...]) -> tuple[list[tuple[int, int]], int, int]:
    """Runs of rows (first, how many), how many leading axes an index has, and how many rows there are in all."""
    if isinstance(index, slice):
        chosen = range(shape[0])[index]
        if chosen.step == 1:
            return [(chosen.start, len(chosen))], 1, len(chosen)
        index = list(chosen)
    picked = np.asarray(index, dtype=np.int64)
    picked = picked[:, None] if picked.ndim == 1 else picked
    depth = picked.shape[1]
    flat = np.atleast_1d(np.ravel_multi_index(tuple(picked.T), shape[:depth]))
    return [(int(first), 1) for first in flat], depth, len(flat)


def _fill(file: FileIO, target: memoryview) -> None:
    while target:
        if not (count := file.readinto(target)):
            raise EOFError
        target = target[count:]


def _chunks(file: FileIO, size: int) -> Iterator[memoryview]:
    buffer = memoryview(bytearray(min(CHUNK, size)))
    while size:
        part = buffer[: min(CHUNK, size)]
        _fill(file, part)
        yield part
        size -= len(part)


def _is_finite(tensor: "torch.Tensor") -> bool:
    import torch

    if not tensor.is_floating_point() or not tensor.numel():
        return True
    return bool(torch.isfinite(torch.stack(tensor.aminmax())).all())  # ten times as fast as to ask every value


def _unfit(parts: Mapping[str, Part], expect: Mapping[str, str]) -> str | None:
    """What is wrong with the tensors, or None. A letter of the expected forms stands for the same number everywhere."""
    sizes: dict[str, int] = {}
    for name, form in expect.items():
        if name not in parts:
            return f"lacks {name}"
        dtype, *axes = form.split()
        shape = parts[name].shape
        fits = parts[name].dtype == dtype and len(axes) == len(shape)
        if not (fits and all(size == _size(axis, size, sizes) for axis, size in zip(axes, shape, strict=True))):
            known = [str(sizes.get(axis, axis)) for axis in axes]
            return f"holds {name} as {parts[name].form}, not {' '.join([dtype, *known])}"
    return None


def _size(axis: str, found: int, sizes: dict[str, int]) -> int:
    return int(axis) if axis.isdigit() else sizes.setdefault(axis, found)
