"""A space on the Hugging Face Hub: its run folder, LoRA files for other tools, and a card that shows the sliders.

What is pushed is enough to draw, export and report with: the settings, directions, sliders, measures and strips.
Trajectories stay.
"""

import re
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from sliderspace.core.arrays import Images
from sliderspace.core.errors import BadInput, DamagedFile, SliderSpaceError
from sliderspace.core.numbers import written
from sliderspace.core.settings import Settings
from sliderspace.measure.results import Measures
from sliderspace.method.sweeps import both_ways
from sliderspace.models.backbones import PRESETS
from sliderspace.models.sources import is_repo
from sliderspace.share.export import FORMATS, export, slider_notes
from sliderspace.share.lora_names import component_of
from sliderspace.space.space import SliderSpace
from sliderspace.storage.files import load_tensors, save_bytes, save_text
from sliderspace.storage.images import EXACT_UP_TO, encode_jpeg, encode_png, grid, labelled_strip, scale_label
from sliderspace.storage.run_folder import RunFolder

SHOWN_SEEDS = 2  # rows of a strip on the card
MADE = (
    "diffusers/*",
    "comfyui/*",
    "images/*",
)  # what each push makes anew: leftovers of an earlier one are removed there
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
    along, and with them the paths of a base model, encoder or pictures that lie in a local folder.
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


def pull(repo_id: str, folder: str | Path, *, revision: str | None = None, token: str | None = None) -> SliderSpace:
    """Download a space that `push` uploaded into the run folder `folder`: new, empty, or filled by an earlier pull.

    Raises BadInput: no such repository or revision, gated, without a space in it, or other files in `folder`.
    SliderSpaceError: no network.
    """
    from huggingface_hub import HfApi

    folder = Path(folder)
    if folder.exists() and not (
        folder.is_dir() and (not any(folder.iterdir()) or (folder / ".cache" / "huggingface").is_dir())
    ):
        raise BadInput(f"{folder} already holds other files.\nChoose a new or empty folder; nothing was changed.")
    api = HfApi(token=token, library_name="sliderspace")
    with _explained(repo_id, revision):
        found = api.model_info(
            repo_id, revision=revision
        )  # asked first: without network a download takes what lies there for the whole
        if not {"config.json", "space.json"} <= {file.rfilename for file in found.siblings or []}:
            raise BadInput(f"{repo_id} holds no space that `sliderspace push` uploaded.")
        api.snapshot_download(repo_id, revision=found.sha, local_dir=folder, allow_patterns=list(PULLED))
    return SliderSpace.load(folder)


@contextmanager
def _explained(repo_id: str, revision: str | None = None) -> Generator[None]:
    """What the Hub's library raises, in one line that says what to do."""
    from huggingface_hub import errors
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    try:
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
    for path in (run.config, run.directions, run.sliders, run.space, run.measures, run.strips):
        if path.exists():
            shutil.copyfile(path, target / path.name)
    formats = FORMATS if _is_unet(space) else FORMATS[:1]  # of a transformer, diffusers and ComfyUI read the same names
    files = {format: export(space, target / format, format=format) for format in formats}
    pictures = _pictures(run, target / "images")
    base = _base_model(space.settings, licence, base_model)
    save_text(target / "README.md", _card(space, base, repo_id, files["diffusers"], pictures))


def _is_unet(space: SliderSpace) -> bool:
    return component_of(name.rpartition(".")[0] for name in space.values) == "unet"


def _pictures(run: RunFolder, folder: Path) -> list[str]:
    """The strip of each slider, as names below the repository; none where the run folder has none (an imported
    space)."""
    if not run.strips.exists():
        return []
    drawn = load_tensors(run.strips, kind="strips")[0]
    if not {"sliders", "base"} <= drawn.keys():
        raise DamagedFile(
            f"{run.strips} lacks its pictures.\nDelete it and run `sliderspace train {run.root}` to make it again."
        )
    folder.mkdir()
    labels = [scale_label(float(s)) for s in both_ways(Measures.read(run.measures).sizes)]
    exact = max(drawn["base"].shape[1:3]) <= EXACT_UP_TO
    _save_picture(folder / "base", grid(drawn["base"][:16].numpy(), 8), exact)
    strips = [labelled_strip(rows[:SHOWN_SEEDS].numpy(), labels) for rows in drawn["sliders"]]
    return [_save_picture(folder / f"slider-{k:02d}", strip, exact) for k, strip in enumerate(strips)]


def _save_picture(path: Path, image: Images, exact: bool) -> str:
    path = path.with_suffix(".png" if exact else ".jpg")
    save_bytes(path, encode_png(image) if exact else encode_jpeg(image))
    return f"images/{path.name}"


# ---- the card


HUB_LICENCES = {  # the Hub's short names of those that base models have
    "Apache-2.0": "apache-2.0", "MIT": "mit", "CreativeML Open RAIL-M": "creativeml-openrail-m", "CreativeML Open "
    "RAIL++-M": "openrail++",
}  # fmt: skip


@dataclass(frozen=True)
class BaseModel:
    """The model sliders belong to: `repos` are its Hub ids (pipeline first, then weights put into it), `licence` its
    licence if told."""

    name: str
    repos: list[str]
    licence: str

    @property
    def hub_licence(self) -> str:
        return HUB_LICENCES.get(self.licence, "other")

    @property
    def licence_slug(self) -> str:
        """The Hub's metadata take a name of small letters, digits, dots and dashes for a licence it does not list."""
        return re.sub(r"[^a-z0-9.]+", "-", self.licence.lower()).strip("-.")


def _base_model(settings: Settings, licence: str, repo: str) -> BaseModel:
    preset = PRESETS.get(settings.backbone)
    parts = [repo] if repo else [preset.location, preset.weights.partition(":")[0]] if preset else [settings.backbone]
    repos = [part.partition("@")[0] for part in parts if repo or is_repo(part)]
    name = (
        preset.name if preset else repos[0] if repos else Path(settings.backbone).name
    )  # of a local folder no more than its name
    return BaseModel(name, repos, licence or (preset.licence if preset else ""))


def _card(space: SliderSpace, base: BaseModel, repo_id: str, files: list[Path], pictures: list[str]) -> str:
    """README.md: metadata for the Hub, every slider with its strip and measures, and how to use them."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("sliderspace.share", "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters |= {"plain": _plain, "written": written, "code": repr}
    notes, ratio_K = slider_notes(space), space.directions.explained_variance_ratio_K
    sliders = [
        {
            "index": k,
            "file": file.name,
            "name": notes[k]["name"],
            "measures": notes[k]["measures"] or {},
            "share": float(ratio_K[k]),
        }
        | {"picture": pictures[k] if pictures else None}
        for k, file in enumerate(files)
    ]
    return environment.get_template("card.md.j2").render(
        settings=space.settings,
        told=space.settings.model_dump(
            mode="json", exclude={"prompts", "backbone", "encoder", "images"}
        ),  # without names of local folders
        base=base,
        repo_id=repo_id,
        sliders=sliders,
        share=float(ratio_K.sum()),
        call=_call(space.settings),
        sampler=getattr(PRESETS.get(space.settings.backbone), "sampler", ""),
        unet=_is_unet(space),
    )


def _call(settings: Settings) -> str:
    """The arguments that make diffusers draw as the discovery did."""
    preset = PRESETS.get(settings.backbone)
    steps = settings.steps or (preset.steps if preset else None)
    guidance = settings.guidance if settings.guidance is not None or preset is None else preset.guidance
    said = {"num_inference_steps": steps, "guidance_scale": guidance}
    return ", ".join(
        [repr(settings.prompts[0]), *(f"{name}={value:g}" for name, value in said.items() if value is not None)]
    )


def _plain(text: str) -> str:
    """Text of strangers inside Markdown: on one line, and none of it read as markup."""
    return re.sub(r"([\\`*_{}\[\]<>()#!|~&])", r"\\\1", " ".join(text.encode(errors="replace").decode().split()))
