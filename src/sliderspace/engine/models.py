"""What the stages of a run share: its settings, its folder, and the models, each loaded when first needed."""

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, cast

import torch

from sliderspace.concepts.pictures import Pictures, read_folder
from sliderspace.core.batches import BatchSize
from sliderspace.core.errors import BadInput
from sliderspace.core.seeds import image_seed_for
from sliderspace.core.settings import Measuring, Settings, Speed
from sliderspace.engine.fingerprints import Fingerprints
from sliderspace.method.baselines.concept import prompts_of
from sliderspace.method.directions import Directions
from sliderspace.method.measuring import measuring_for
from sliderspace.method.sliders import SliderBank, bank_for
from sliderspace.method.sweeps import Viewer
from sliderspace.method.trajectories import Shard, Trajectories, load, shard_size, shards
from sliderspace.models.backbones import Backbone, Condition
from sliderspace.models.device import device_for
from sliderspace.models.encoders import Encoder
from sliderspace.models.load import backbone_at, encoder_at
from sliderspace.models.texts import encoded
from sliderspace.models.working_point import WorkingPoint
from sliderspace.storage.files import load_tensors
from sliderspace.storage.run_folder import RunFolder

Found = TypeVar("Found")


class Loaded:
    """What one process has loaded, for all runs in it that ask for the same: weights stay between concepts."""

    def __init__(self) -> None:
        self._found: dict[tuple[object, ...], Any] = {}

    def once(self, key: tuple[object, ...], load: Callable[[], Found]) -> Found:
        """What was loaded under this key, or is now. The key holds all that decides it."""
        if key not in self._found:
            self._found[key] = load()
        return cast("Found", self._found[key])


class Models:
    """A run as its stages see it. `batch` and `lanes` are halved where memory does not suffice, for all stages."""

    def __init__(self, settings: Settings, speed: Speed, run: RunFolder, loaded: Loaded | None = None) -> None:
        self.settings = settings
        self.speed = speed
        self.run = run
        self.loaded = loaded or Loaded()
        self.batch = BatchSize(speed.batch)
        self.lanes = BatchSize(speed.lanes)

    # what is known without loading a model

    @cached_property
    def device(self) -> torch.device:
        return device_for(self.speed.device)

    @cached_property
    def point(self) -> WorkingPoint:
        key = ("point", self.settings.model_copy(update={"prompts": ()}), self.device)
        return self.loaded.once(key, lambda: WorkingPoint.of(self.settings, self.device))

    @cached_property
    def measuring(self) -> Measuring:
        return measuring_for(self.settings)

    @cached_property
    def prints(self) -> Fingerprints:
        pictures = self.pictures.fingerprint if self.pictures else ""
        return Fingerprints.of(self.settings, self.point, self.measuring, pictures)

    @cached_property
    def pictures(self) -> Pictures | None:
        """A person's own pictures to discover in, where a folder of them is given."""
        return read_folder(self.settings.images, self.point.image_size) if self.settings.images else None

    @cached_property
    def shards(self) -> list[Shard]:
        """The files of all trajectories, held-out ones last."""
        size = shard_size(self.point.latent_shape, len(self.point.embed_T))
        total = self.settings.samples + self.settings.held_out
        return shards(self.run.trajectories, total, size, self.prints.drawn)

    @cached_property
    def groups(self) -> list[range]:
        """Sliders that are trained together: as many as lanes at the start, whoever trains them."""
        count, size = self.settings.sliders, self.speed.lanes
        return [range(first, min(first + size, count)) for first in range(0, count, size)]

    def seeds(self, purpose: str, count: int) -> list[int]:
        """Seeds of finished images that nothing else uses; number i shows prompt i mod P, by its place as by itself."""
        seed, prompts = self.settings.seed, len(self.settings.prompts)
        return [image_seed_for(seed, purpose, i, prompts) for i in range(count)]

    # models

    @cached_property
    def backbone(self) -> Backbone:
        point, checkpointing = self.point, self.speed.checkpointing
        key = ("backbone", point.identity, point.decoder_for_people, self.device, checkpointing)
        return self.loaded.once(key, lambda: backbone_at(point, device=self.device, checkpointing=checkpointing))

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder that finds directions and trains sliders."""
        return self.encoder_at(self.point.encoder, self.point.dtype)

    @cached_property
    def judge(self) -> Encoder | None:
        """An encoder that trained nothing, where the model's preset has one."""
        return self.encoder_at(self.point.judge) if self.point.judge else None

    def encoder_at(self, location: str, dtype: torch.dtype = torch.float32) -> Encoder:
        """The encoder of a name, repository or folder. Raises BadInput when there is none."""
        key = ("encoder", location, dtype, self.device)
        return self.loaded.once(key, lambda: encoder_at(location, device=self.device, dtype=dtype))

    def bank(self, sliders: range | None = None) -> SliderBank:
        """Untrained sliders of the settings' shape: all, or some of them."""
        return bank_for(self.settings, self.backbone, sliders)

    @cached_property
    def trained_bank(self) -> SliderBank:
        """The trained sliders. Raises BadInput when there are none of these settings."""
        bank = self.bank()
        bank.load_tensors(load_tensors(self.need(self.run.sliders, self.prints.trained, "train"), kind="sliders")[0])
        return bank

    def viewer(self, judge: Encoder | None) -> Viewer:
        """What draws finished images with the trained sliders and embeds them."""
        return Viewer(self.backbone, self.trained_bank, self.condition, self.encoder, judge, self.batch)

    # encoded prompts

    @cached_property
    def condition(self) -> Condition:
        """The concept's prompts."""
        return self._encoded(self.run.texts, self.settings.prompts)

    @cached_property
    def shown(self) -> Condition:
        """The prompts that the stored trajectories show: the concept's, or the captions beside a person's pictures."""
        captions = self.pictures.captions if self.pictures else ()
        if not any(captions):
            return self.condition if self.pictures is None else self.condition.rows([0])
        return self._encoded(self.run.captions, [text or self.settings.prompts[0] for text in captions])

    @cached_property
    def paired(self) -> Condition:
        """The two prompts of each slider asked for in words: all c₊, then all c₋."""
        return self._encoded(self.run.pairs, prompts_of(self.settings.pairs, self.settings.prompts[0]))

    def _encoded(self, path: Path, prompts: Sequence[str]) -> Condition:
        """The condition of some prompts, kept in the run folder."""
        return encoded(path, prompts, self.point.text_identity, self.device, lambda: self.backbone)

    # what earlier stages left

    @cached_property
    def trajectories(self) -> Trajectories:
        return load(self.shards)

    @property
    def seen(self) -> Trajectories:
        """What PCA and training use."""
        return self.trajectories.part(0, self.settings.samples)

    @property
    def unseen(self) -> Trajectories:
        """What they never see."""
        return self.trajectories.part(self.settings.samples, len(self.trajectories))

    @cached_property
    def directions(self) -> Directions:
        return Directions.load(self.need(self.run.directions, self.prints.fitted, "fit"))

    def need(self, place: Path, made_from: str, stage: str) -> Path:
        """The file an earlier stage left of these very settings. Raises BadInput where it has not."""
        if (path := self.run.find(place.name, made_from)) is None:
            raise BadInput(
                f"{place} is missing, or was made with other settings.\n"
                f"Run `sliderspace {stage} {self.run.typed}` first."
            )
        return path
