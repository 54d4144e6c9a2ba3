"""A space on the Hugging Face Hub: its run folder, LoRA files for other programs, and a card that shows the sliders.

What is pushed is enough to draw, export and report with: the settings, directions, sliders, names, measures and strips.
Trajectories stay.
"""

import shutil
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from sliderspace.core.arrays import Images
from sliderspace.core.errors import BadInput, SliderSpaceError
from sliderspace.measure.results import SpaceFile
from sliderspace.share.card import card
from sliderspace.share.export import export
from sliderspace.share.importing import base_here
from sliderspace.share.incoming import CHECKED, incoming, kept
from sliderspace.share.pictures import SEEDS, stored_strips
from sliderspace.share.places import shareable
from sliderspace.space.labels import labels_of, write_labels
from sliderspace.space.space import SliderSpace
from sliderspace.storage.files import save_bytes, save_json, save_text, stored_fingerprint
from sliderspace.storage.images import EXACT_UP_TO, encode_jpeg, encode_png, grid, labelled_strip
from sliderspace.storage.run_folder import PUBLISHING, RunFolder

# What a push sends where the space has it: leftovers of an earlier push are removed there.
MADE = ("lora/*", "images/*", "directions.safetensors", "labels.json", "measures.json", "strips.safetensors")
PULLED = ("*.json", "*.safetensors", "*.md", "images/*.png", "images/*.jpg")  # no page that a browser would run


# ---- the two verbs


def push(
    folder: str | Path,
    repo_id: str,
    *,
    private: bool = False,
    token: str | None = None,
    licence: str = "",
    base_model: str = "",
) -> str:
    """Upload a finished space to the Hub repository `repo_id` ("owner/name"), made if need be; returns its address.

    `licence` and `base_model` (a Hub id) are named on the card; the preset knows those of its model. The settings go
    along, a local folder in them by its name alone.
    Raises BadInput: no finished space, a name that is none, not logged in, no right to write. SliderSpaceError: no
    network.
    """
    from huggingface_hub import HfApi, get_token

    if not (token or get_token()):
        raise BadInput("not logged in to the Hub: run `hf auth login`, or set HF_TOKEN to a token that may write.")
    api = HfApi(token=token, library_name="sliderspace")
    with TemporaryDirectory(prefix="sliderspace-") as made, _explained(repo_id):
        prepare(folder, made, repo_id, licence=licence, base_model=base_model)
        address = api.create_repo(repo_id, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=repo_id, folder_path=made, delete_patterns=list(MADE), commit_message="Sliders from sliderspace"
        )
    return str(address)


def pull(
    repo_id: str,
    folder: str | Path,
    *,
    backbone: str | None = None,
    lora: str | None = None,
    revision: str | None = None,
    token: str | None = None,
) -> SliderSpace:
    """Download a space that `push` uploaded into the run folder `folder`: new, empty, or filled by an earlier pull of
    the same sliders, whose names there stay.

    `backbone` and `lora` name the base model, and the LoRA under it, where they lie elsewhere on this machine. Raises
    BadInput: no such repository or revision, gated, without a space in it, other sliders or other files in `folder`, or
    no such base model. SliderSpaceError: no network.
    """
    from huggingface_hub import HfApi

    folder = Path(folder)
    named = base_here(backbone, lora)
    if folder.exists() and not (
        folder.is_dir() and (_is_empty(folder) or (folder / ".cache" / "huggingface").is_dir())
    ):
        raise BadInput(f"{folder} already holds other files.\nChoose a new or empty folder; nothing was changed.")
    api = HfApi(token=token, library_name="sliderspace")
    with _explained(repo_id, revision):
        found = api.model_info(
            repo_id, revision=revision
        )  # asked first: without network a download takes what lies there for the whole
        if CHECKED - {file.rfilename for file in found.siblings or []}:
            raise BadInput(f"{repo_id} holds no space that `sliderspace push` uploaded.")
        fetch = partial(api.snapshot_download, repo_id, revision=found.sha)
        theirs = incoming(repo_id, lambda target: fetch(local_dir=target, allow_patterns=list(CHECKED)))
        own = kept(RunFolder(folder), theirs)
        fetch(local_dir=folder, allow_patterns=list(PULLED), ignore_patterns=[*own, PUBLISHING])
    _receive(RunFolder(folder), named)
    return SliderSpace.load(folder)


def _is_empty(folder: Path) -> bool:
    """Whether all in it is hidden, such as macOS's .DS_Store."""
    return all(entry.name.startswith(".") for entry in folder.iterdir())


def _receive(run: RunFolder, named: dict[str, str]) -> None:
    """Say in the folder where the base model lies here, and that its sliders cannot be made again from it: their
    trajectories are elsewhere."""
    space = SpaceFile.read(run.space)
    settings = space.settings.model_copy(update=named)
    made_from = stored_fingerprint(run.space) or ""
    space.model_copy(update={"settings": settings, "imported": True}).write(run.space, made_from)
    config = stored_fingerprint(run.config) or ""
    save_json(run.config, settings.model_dump(mode="json"), kind="config", fingerprint=config)


@contextmanager
def _explained(repo_id: str, revision: str | None = None) -> Generator[None]:
    """What the Hub's library raises, in one line that says what to do."""
    from huggingface_hub import errors

    try:
        with _without_bars():
            yield
    except SliderSpaceError:
        raise
    except errors.HFValidationError as error:
        raise BadInput(
            f"'{repo_id}' is not the name of a repository: it is owner/name, for example jane/robot-sliders."
        ) from error
    except errors.GatedRepoError as error:
        raise BadInput(
            f"{repo_id} is gated: ask for access at https://huggingface.co/{repo_id}, then run `hf auth login`."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise BadInput(
            f"{repo_id} has no revision '{revision}': leave it out, or name a branch, tag or commit."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise BadInput(
            f"there is no '{repo_id}' on the Hub, or it is private and you are not logged in (`hf auth login`)."
        ) from error
    except errors.HfHubHTTPError as error:
        raise _refused(repo_id, error.response.status_code) from error
    except (errors.HTTPError, errors.LocalEntryNotFoundError, ConnectionError) as error:
        raise SliderSpaceError(
            "the Hub cannot be reached: check the network (and HF_HUB_OFFLINE), then give the command again."
        ) from error
    except OSError as error:
        raise SliderSpaceError(
            f"{repo_id}: {error.strerror or str(error) or type(error).__name__}.".splitlines()[0]
        ) from error


@contextmanager
def _without_bars() -> Generator[None]:
    """Within the block the Hub's library shows no bars; afterwards as before."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    silent = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if not silent:
            enable_progress_bars()


def _refused(repo_id: str, status: int) -> SliderSpaceError:
    if status == 401:
        return BadInput("the Hub does not know this token: run `hf auth login` again, or set HF_TOKEN to a valid one.")
    if status == 403:
        return BadInput(
            f"this token may not write to {repo_id}: make one with write access, or choose a repository of your own."
        )
    return SliderSpaceError(f"the Hub answered with error {status}: try again later.")


# ---- what is uploaded


def prepare(folder: str | Path, target: str | Path, repo_id: str, *, licence: str = "", base_model: str = "") -> None:
    """Fill the empty folder `target` with all that a push uploads."""
    space, run, target = SliderSpace.load(folder), RunFolder(folder), Path(target)
    own = SpaceFile.read(run.space)
    foreign = own.foreign(run)
    for path in (run.directions, run.sliders, run.measures, run.strips):
        if path.exists() and path not in foreign:
            shutil.copyfile(path, target / path.name)
    settings = shareable(space.settings)
    shared = own.model_copy(update={"settings": settings})
    shared.write(target / run.space.name, stored_fingerprint(run.space) or "")
    made_from = shared.made_from.sliders
    write_labels(RunFolder(target), labels_of(run).sliders, made_from)
    save_json(target / run.config.name, settings.model_dump(mode="json"), kind="config", fingerprint=made_from)
    files = export(space, target / "lora")
    pictures = _pictures(run, target / "images")
    save_text(target / "README.md", card(space, repo_id, files, pictures, licence=licence, base=base_model))


def _pictures(run: RunFolder, folder: Path) -> list[str]:
    """The strip of each slider, as names below the repository; none where the run folder has none (an imported
    space)."""
    strips = stored_strips(run)
    if strips is None:
        return []
    folder.mkdir()
    exact = max(strips.base_NHWC.shape[1:3]) <= EXACT_UP_TO
    _save_picture(folder / "base", grid(strips.base_NHWC[:16], 8), exact)
    shown = [labelled_strip(rows[:SEEDS], strips.labels) for rows in strips.sliders_KSMHWC]
    return [_save_picture(folder / f"slider-{k:02d}", strip, exact) for k, strip in enumerate(shown)]


def _save_picture(path: Path, image: Images, exact: bool) -> str:
    path = path.with_suffix(".png" if exact else ".jpg")
    save_bytes(path, encode_png(image) if exact else encode_jpeg(image))
    return f"images/{path.name}"
