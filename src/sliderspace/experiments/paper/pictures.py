"""Sets of pictures: what to draw, as data, and what encoders see in them. A set is drawn once, whoever asks for it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor

from sliderspace.concepts.pictures import read_folder
from sliderspace.core.batches import BatchSize, in_batches
from sliderspace.core.errors import BadInput
from sliderspace.core.seeds import generator_for, seed_for
from sliderspace.core.settings import Settings, Speed, settings_from
from sliderspace.engine.begin import models_for
from sliderspace.engine.models import Models
from sliderspace.experiments.runs import folder_of
from sliderspace.method.baselines.first_step import render_otherwise
from sliderspace.method.denoise import render
from sliderspace.method.strengths import sparse_mix
from sliderspace.method.sweeps import Seen, embedded
from sliderspace.models.backbones import Condition
from sliderspace.models.backbones.pipeline import PipelineBackbone
from sliderspace.models.device import device_for
from sliderspace.models.encoders import Encoder
from sliderspace.models.encoders.unloaded import encoder_identity
from sliderspace.models.encoders.words import read_words
from sliderspace.models.load import backbone_at, encoder_at
from sliderspace.models.perceptual import dreamsim, inception
from sliderspace.models.texts import encoded
from sliderspace.models.working_point import WorkingPoint
from sliderspace.space.space import SliderSpace
from sliderspace.storage.files import fingerprint, is_done, load_tensors, save_json, save_tensors, save_text
from sliderspace.storage.images import save_png, thumbnails, to_uint8

PERCEPTUAL = {"inception": inception, "dreamsim": dreamsim}  # judges by name
SCHEMA = 1  # raised when the same set is drawn or embedded otherwise
SHOWN = 16  # pictures kept of a set
TAUGHT = "the teacher's pictures"  # as the `images` of a discovery: a folder of them, drawn when it is needed
LAYOUT = 16  # a picture's layout: its grey values on so many squares a side


@dataclass(frozen=True)
class Pictures:
    """One set. Picture n shows prompt n modulo their number, from noise (run seed, `noise`, n).

    `model` says which model draws what prompts. `sliders` are those of the discovery `space`: "mix" switches on
    `active` random ones at ±1 unit (or at +1 only), "each" draws every slider at +1 and at −1 on `count` seeds. They
    act on steps `start` … `end` − 1. `first` is the model that predicts the first step, `skipped` how many steps are
    left out; `folder` holds pictures that need no model.
    """

    model: Settings
    count: int
    seed: int
    noise: str = "pictures"
    space: Settings | None = None
    sliders: Literal["none", "mix", "each"] = "none"
    active: int = 3
    both_signs: bool = True
    start: int = 0
    end: int | None = None
    first: Settings | None = None
    skipped: int = 0
    folder: str = ""

    @property
    def images(self) -> int:
        """How many pictures are drawn."""
        if self.folder:
            return 0
        return 2 * self.space.sliders * self.count if self.space and self.sliders == "each" else self.count


def data_of(settings: Settings, teacher: str) -> Pictures:
    """The pictures that a discovery in `TAUGHT` is made in: its prompts by the teacher, one a trajectory, held-out
    ones included."""
    kept = settings.model_dump(include={"precision", "resolution", "decoder", "quantize", "lora", "prompts"})
    model = settings_from({**kept, "backbone": teacher})
    return Pictures(model, settings.samples + settings.held_out, settings.seed, noise="data")


@dataclass(frozen=True)
class Perceptual:
    """A network of the field's own in a judge's place, its features of their own length: with Inception the Fréchet
    distance is FID and the kernel distance KID, with DreamSim the pairwise distance is the paper's."""

    features: Callable[[Tensor], Tensor]

    def described(self, images01: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return self.features(images01), {}


@dataclass
class Shared:
    """What the cells of one process share: models and encoders, loaded once each, and the places of their results."""

    out: Path
    speed: Speed
    judge_at: str
    encoder_location: str
    teacher: str = ""
    batch: BatchSize = field(init=False)
    backbones: dict[str, PipelineBackbone] = field(default_factory=dict[str, PipelineBackbone])
    read: dict[tuple[str, ...], Tensor | None] = field(default_factory=dict[tuple[str, ...], Tensor | None])
    prints: dict[Pictures, str] = field(default_factory=dict[Pictures, str])

    def __post_init__(self) -> None:
        self.batch = BatchSize(self.speed.batch)

    @cached_property
    def device(self) -> torch.device:
        return device_for(self.speed.device)

    @cached_property
    def judge(self) -> Encoder | Perceptual:
        """Who judges: an encoder, or a network that the field reports by."""
        if self.judge_at in PERCEPTUAL:
            return Perceptual(PERCEPTUAL[self.judge_at](self.device))
        return encoder_at(self.judge_at, device=self.device)

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder that discoveries are made by; it scores texts."""
        return encoder_at(self.encoder_location, device=self.device)

    def words(self, texts: Sequence[str]) -> Tensor | None:
        """Unit vectors of texts beside those of images; None where the encoder reads none."""
        key = tuple(texts)
        if key not in self.read:
            self.read[key] = read_words(self.encoder_location, texts, self.device)
        return self.read[key]

    # ---- places

    def run(self, settings: Settings) -> Models:
        """The discovery that settings ask for; the pictures that it is made in are drawn where they are not there."""
        found = settings
        if settings.images == TAUGHT:
            found = settings.model_copy(update={"images": str(self._in_files(data_of(settings, self.teacher)))})
        return models_for(found, self.speed, folder_of(settings, self.out / "runs"))

    def space(self, settings: Settings) -> SliderSpace:
        return SliderSpace.load(self.run(settings).run.root, self.speed)

    def print_of(self, pictures: Pictures) -> str:
        """All that decides what encoders see in a set. No model is loaded for it."""
        if pictures not in self.prints:
            self.prints[pictures] = self._print_of(pictures)
        return self.prints[pictures]

    def _print_of(self, pictures: Pictures) -> str:
        plain = {
            name: value for name, value in vars(pictures).items() if name not in ("model", "space", "first", "folder")
        }
        return fingerprint(
            stage="pictures",
            schema=SCHEMA,
            **plain,
            model=self._point(pictures.model).identity,
            prompts=pictures.model.prompts,
            space=self.run(pictures.space).prints.measured if pictures.space else "",
            first=self._point(pictures.first).identity if pictures.first else "",
            folder=f"by lot: {self._folder(pictures).fingerprint}" if pictures.folder else "",
            judge=self.judge_at if self.judge_at in PERCEPTUAL else encoder_identity(self.judge_at),
            encoder=encoder_identity(self.encoder_location),
        )

    # ---- drawing

    def seen(self, pictures: Pictures) -> Seen:
        """What encoders see in a set: z [N, D] and judge [N, E], `layout` [N, 256], `factor/NAME` where
        the judge names any; `images`, the first few as small ones. Drawn where it is not there yet."""
        made_from = self.print_of(pictures)
        path = self.out / "pictures" / f"{made_from}.safetensors"
        if not is_done(path, made_from):
            path.parent.mkdir(parents=True, exist_ok=True)
            save_tensors(path, self._drawn(pictures), kind="pictures", fingerprint=made_from)
        return load_tensors(path, kind="pictures")[0]

    def _drawn(self, pictures: Pictures) -> Seen:
        layouts: list[Tensor] = []
        first: list[Tensor] = []

        def noted() -> Iterator[Tensor]:
            for images01 in self._images(pictures):
                layouts.append(layout(images01))
                if (missing := SHOWN - sum(map(len, first))) > 0:
                    first.append(torch.from_numpy(thumbnails(to_uint8(images01[:missing]).numpy())))
                yield images01

        found = embedded(noted(), self.encoder, cast("Encoder", self.judge))
        return found | {"layout": torch.cat(layouts), "images": torch.cat(first)}

    def _images(self, pictures: Pictures) -> Iterator[Tensor]:
        if pictures.folder:
            return self._from_folder(pictures)
        seeds, prompt_N, raw_NK = self._rows(pictures)
        backbone, condition = self._model(pictures.model)
        if pictures.first or pictures.skipped:
            first = self._model(pictures.first, pictures.model.prompts) if pictures.first else None
            model, skipped = (backbone, condition), pictures.skipped
            return render_otherwise(model, seeds, prompt_N, first=first, skipped=skipped, batch=self.batch)
        bank = self.space(pictures.space).bank_on(backbone) if pictures.space else None
        about = (backbone, bank, condition, seeds, prompt_N, raw_NK)
        return render(*about, start_step=pictures.start, end_step=pictures.end, batch=self.batch)

    def _in_files(self, pictures: Pictures) -> Path:
        """The folder of a set's pictures, each with its prompt as caption. The stamp is written last."""
        prompts = pictures.model.prompts
        about = {"model": self._point(pictures.model).identity, "prompts": prompts, "count": pictures.count}
        made_from = fingerprint(stage="data", seed=pictures.seed, noise=pictures.noise, **about)
        folder = (self.out / "taught" / made_from[:16]).resolve()
        if is_done(folder / "data.json", made_from):
            return folder
        folder.mkdir(parents=True, exist_ok=True)
        images = (image for batch in self._images(pictures) for image in to_uint8(batch).numpy())
        for n, image in enumerate(images):
            save_png(folder / f"{n:06d}.png", image)
            save_text(folder / f"{n:06d}.txt", prompts[n % len(prompts)])
        save_json(folder / "data.json", about, kind="data", fingerprint=made_from)
        return folder

    def _rows(self, pictures: Pictures) -> tuple[list[int], list[int], Tensor | None]:
        """Seed, prompt and raw strengths of each picture."""
        count, index = pictures.count, list(range(pictures.count))
        seeds = [seed_for(pictures.seed, pictures.noise, n) for n in index]
        prompt_N = [n % len(pictures.model.prompts) for n in index]
        if pictures.space is None or pictures.sliders == "none":
            return seeds, prompt_N, None
        units_K = torch.from_numpy(self.space(pictures.space).units_K).float()
        if pictures.sliders == "mix":
            active, signs = pictures.active, pictures.both_signs
            mixed_NK = sparse_mix(index, len(units_K), active=active, seed=pictures.seed, both_signs=signs)
            return seeds, prompt_N, units_K * mixed_NK
        signed_K2K = torch.stack([torch.diag(units_K), -torch.diag(units_K)], 1)
        times = 2 * len(units_K)
        return seeds * times, prompt_N * times, signed_K2K.flatten(0, 1).repeat_interleave(count, 0)

    def _from_folder(self, pictures: Pictures) -> Iterator[Tensor]:
        """As many of the folder's pictures as are asked for, drawn by lot: by name, neighbours are alike."""
        found = self._folder(pictures)
        chosen_N = generator_for(pictures.seed, "reference", 0).permutation(len(found))[: pictures.count].tolist()

        def read(part: range) -> Tensor:
            return torch.cat([found.images01(n, n + 1) for n in chosen_N[part.start : part.stop]])

        for _, images01 in in_batches(0, pictures.count, self.batch, read):
            yield images01.to(self.device)

    def _folder(self, pictures: Pictures) -> Any:
        return read_folder(pictures.folder, self._point(pictures.model).image_size, least=pictures.count)

    def _point(self, settings: Settings) -> WorkingPoint:
        """Pictures to be judged come from the full decoder."""
        decoder = "full" if settings.decoder == "auto" else settings.decoder
        return WorkingPoint.of(settings.model_copy(update={"decoder": decoder}), self.device)

    def _model(self, settings: Settings, prompts: Sequence[str] = ()) -> tuple[PipelineBackbone, Condition]:
        point, texts = self._point(settings), tuple(prompts) or settings.prompts

        def backbone() -> PipelineBackbone:
            if point.identity not in self.backbones:
                made = backbone_at(point, device=self.device, checkpointing=self.speed.checkpointing)
                self.backbones[point.identity] = made
            return self.backbones[point.identity]

        name = fingerprint(texts=texts, model=point.text_identity)
        (self.out / "texts").mkdir(parents=True, exist_ok=True)
        path = self.out / "texts" / f"{name}.safetensors"
        return backbone(), encoded(path, texts, point.text_identity, self.device, backbone)


def layout(images01: Tensor) -> Tensor:
    """Where light and dark lie [N, 256], about the picture's mean and of unit length: their inner product is a
    correlation."""
    grey = images01.float().clamp(0, 1).mean(1, keepdim=True)
    small_ND = torch.nn.functional.adaptive_avg_pool2d(grey, LAYOUT).flatten(1)
    return torch.nn.functional.normalize(small_ND - small_ND.mean(1, keepdim=True), dim=1).cpu().double()


def checked_out(folder: Path) -> Path:
    """The folder of experiments, made if need be. Raises BadInput where it is a file."""
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"{folder} is a file, and experiments need a folder: choose another name with --out")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
