"""Where models come from: a folder, something shipped with the package, or a repository of the Hugging Face Hub."""

import re
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from sliderspace.core.errors import BadInput

REPO = re.compile(r"\w[\w.-]*/\w[\w.-]*(@[\w./-]+)?")  # "./models" is a folder, there or not
COMMIT = re.compile(r"[0-9a-f]{40}")
BAR_AFTER = 1.0  # seconds: what lies in the cache is found sooner, and shows no bar


def resolve(location: str) -> Path:
    """A location -> a folder on disk, not checked. `asset:` names a folder shipped inside the package."""
    if location.startswith("asset:"):
        return Path(str(files("sliderspace") / "assets" / location.removeprefix("asset:")))
    return Path(location).expanduser()


@contextmanager
def reading(file: Path) -> Generator[None]:
    """Within the block a file of a model is read. BadInput where it is broken, or one may not."""
    try:
        file.open("rb").close()  # safetensors says of a file that one may not read that there is none
        yield
    except OSError as error:
        raise BadInput(
            f"cannot read {file}: {error.strerror or error}.\nCheck the model's files and their permissions."
        ) from error
    except SafetensorError as error:
        raise BadInput(f"{file} is no whole .safetensors file ({error}): fetch it again") from error


def is_repo(location: str) -> bool:
    """Whether a location reads as `owner/name` or `owner/name@revision` and is no folder here."""
    return bool(REPO.fullmatch(location)) and not Path(location).expanduser().exists()


def find(location: str, patterns: Sequence[str] | None = None) -> Path:
    """A location -> its folder, fetched from the Hub when it names a repository. Raises BadInput when that fails."""
    if not is_repo(location):
        return resolve(location)
    repo, _, revision = location.partition("@")
    return fetch(repo, revision=revision or None, patterns=patterns)


def names_in(location: str) -> tuple[str, ...]:
    """The files of a Hub repository; none where it cannot be asked, or is a folder here."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HTTPError

    if not is_repo(location):
        return ()
    repo, _, revision = location.partition("@")
    try:
        siblings = HfApi().model_info(repo, revision=revision or None).siblings
    except (HTTPError, OSError):  # what is fetched next says what is wrong
        return ()
    return tuple(file.rfilename for file in siblings or ())


def fetch(repo: str, *, revision: str | None = None, patterns: Sequence[str] | None = None) -> Path:
    """The snapshot of a Hub repository (only the files that match `patterns`), from the local cache when it is there.

    Raises BadInput: no such repository or revision, gated, no network, no space left.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    what = f"{repo}@{revision}" if revision else repo
    try:
        return Path(
            snapshot_download(
                repo,
                revision=revision,
                allow_patterns=list(patterns) if patterns else None,
                tqdm_class=_download_bar(),
            )
        )
    except GatedRepoError as error:
        raise BadInput(
            f"{repo} is gated: accept its licence at https://huggingface.co/{repo}, then run `hf auth login`."
        ) from error
    except RepositoryNotFoundError as error:
        raise BadInput(
            f"there is no model '{repo}' on the Hub, or it is private and you are not logged in (`hf auth login`)."
        ) from error
    except RevisionNotFoundError as error:
        raise BadInput(
            f"{repo} has no revision '{revision}': leave it out, or name a branch, tag or commit of that repository."
        ) from error
    except (LocalEntryNotFoundError, ConnectionError) as error:
        raise BadInput(
            f"{what} is not on this machine, and the Hub cannot be reached: go online once, or give a local folder."
        ) from error
    except OSError as error:
        raise BadInput(f"{what} cannot be fetched: {str(error).splitlines()[0]}") from error


def _download_bar() -> Any:
    """The bar of the Hub's client (on stderr; none where the user has switched it off), shown once a download takes
    longer than a moment."""
    from huggingface_hub.utils.tqdm import tqdm

    class Bar(tqdm):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{**options, "delay": BAR_AFTER})

        def display(self, *args: Any, **options: Any) -> None:  # a new description would show it at once
            if time.time() > self.start_t + BAR_AFTER:
                super().display(*args, **options)

    return Bar
