"""What tells one version of a model from another: the commit of a Hub repository, a digest of a local folder's or
file's contents."""

import hashlib
import json
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from sliderspace.core.errors import SliderSpaceError
from sliderspace.models.configs import JSONS
from sliderspace.models.sources import COMMIT, fetch, is_repo, reading, resolve
from sliderspace.storage.files import save_text

READ = (".safetensors", ".json", ".txt", ".model", ".jinja")  # weights, configurations, vocabularies, chat templates
DIGEST = re.compile(r"[0-9a-f]{16}")
BYSTANDERS = ("safety_checker", "feature_extractor", "image_encoder")  # parts of a pipeline that draw nothing here
SETTLED = 2.0  # seconds: a younger file may yet change without a change of its time


def source_identity(location: str) -> str:
    """The identity of a location, without fetching weights: `owner/name@commit`, or the digest of what lies there.

    Raises BadInput for a repository that cannot be reached where its commit is not known.
    """
    if not is_repo(location):
        return identity_of(resolve(location))
    repo, _, revision = location.partition("@")
    if not COMMIT.fullmatch(revision):  # a branch or tag: the commit that it names now
        revision = fetch(repo, revision=revision or None, patterns=JSONS).name
    return f"{repo}@{revision[:12]}"


def identity_of(path: Path) -> str:
    """The commit of a Hub snapshot; for any other folder, and for a file, a digest of its contents."""
    if COMMIT.fullmatch(path.name) and path.parent.name == "snapshots":
        return f"{path.parent.parent.name.removeprefix('models--').replace('--', '/')}@{path.name[:12]}"
    return weights_digest(path)


def weights_digest(path: Path) -> str:
    """A short hash of every file that decides a model's output, by name below `path` and contents.

    Hashing gigabytes takes seconds, so the hash is kept in the user's cache, under the names, sizes and times of the
    files, and looked up there. Where that folder cannot be written, it is computed each time. BadInput where a
    file cannot be read.
    """
    files = _files_of(path)
    kept = _kept_at(files)
    with suppress(OSError, UnicodeDecodeError):
        if kept is not None and DIGEST.fullmatch(text := kept.read_text()):
            return text
    digest = hashlib.blake2b(digest_size=8)
    for file in files:
        digest.update(file.relative_to(path).as_posix().encode())
        with reading(file), file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "blake2b").digest())
    if kept is not None:
        with suppress(SliderSpaceError):
            save_text(kept, digest.hexdigest())
    return digest.hexdigest()


def _files_of(path: Path) -> list[Path]:
    """Weights, configurations and vocabularies. Of a pipeline folder only those of its parts: an encoder or a judge
    that lies beside them decides no image."""
    if path.is_file():
        return [path]
    parts = _parts_of(path)
    found = [path / "model_index.json", *(f for part in parts for f in (path / part).rglob("*"))]
    return sorted(f for f in (found if parts else path.rglob("*")) if f.suffix in READ)


def _parts_of(folder: Path) -> list[str]:
    """The subfolders that a pipeline's index names as parts; none where the folder is no pipeline."""
    try:
        index: Any = json.loads((folder / "model_index.json").read_text())
        parts = [name for name, kind in index.items() if isinstance(kind, list) and kind[0] and name not in BYSTANDERS]
    except (OSError, ValueError, AttributeError, IndexError):
        return []
    return [name for name in parts if (folder / name).is_dir()]


def _kept_at(files: Sequence[Path]) -> Path | None:
    """The file that keeps the hash of these files as they are now; None where there is no place for it, or where one of
    them has only just been written."""
    from huggingface_hub import cached_assets_path

    about = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    if not about or max(time_ns for *_, time_ns in about) / 1e9 > time.time() - SETTLED:
        return None
    name = hashlib.blake2b(repr(about).encode(), digest_size=16).hexdigest()
    try:
        return cached_assets_path(library_name="sliderspace", namespace="digests", subfolder="models") / name
    except (OSError, ValueError):  # the second where a file is in the way
        return None
