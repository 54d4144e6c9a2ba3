"""What a discovery is asked for, frozen: every option once, with its range and its help.

Unknown keys are refused; what only changes speed is not in `Settings` but in `Speed`.
"""

import re
from difflib import get_close_matches
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from sliderspace.core.errors import BadInput
from sliderspace.core.sizes import Size, size_from
from sliderspace.core.text import is_blank, is_broken, shown

Targets = Literal["cross-kv", "cross", "attention", "linear"]
Precision = Literal["auto", "float32", "bfloat16"]
Quantize = Literal["none", "8bit", "4bit"]
Control = Literal["none", "random", "differences", "images"]
Centring = Literal["all", "step"]
Rotation = Literal["none", "varimax", "independent"]
Up = Literal["trained", "frozen"]
Objective = Literal["published", "sized", "customised", "concept"]

FROZEN = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Pair(BaseModel):
    """A slider asked for in words: what it draws more of (`plus`) and less of (`minus`)."""

    model_config = FROZEN

    plus: str
    minus: str = ""
    name: str = ""

    @model_validator(mode="after")
    def _said(self) -> "Pair":
        if is_blank(self.plus) or self.plus == self.minus:
            raise ValueError(f"a pair needs two different texts, not “{self.plus}” and “{self.minus}”")
        return self

    @property
    def title(self) -> str:
        """What its slider is called."""
        return self.name or self.plus

    def prompts(self, concept: str) -> tuple[str, str]:
        """The two prompts: words follow the concept after a comma, or stand around it where they say {}; no words are
        the concept itself."""
        return _about(concept, self.plus), _about(concept, self.minus)


def _about(concept: str, words: str) -> str:
    if "{}" in words:
        return words.replace("{}", concept)
    return concept if is_blank(words) else f"{concept}, {words.strip()}"


class Settings(BaseModel):
    """Everything that decides what a run finds. Defaults are those that measured best on the miniature
    (docs/log.md)."""

    model_config = FROZEN

    prompts: tuple[str, ...] = Field(description="What to explore; several prompts describe one concept.")
    backbone: str = Field(
        default="mini-turbo",
        min_length=1,
        description="A preset (see `sliderspace backbones`), a Hub repository, a diffusers pipeline's folder, or a "
        ".safetensors file.",
    )
    encoder: str = Field(
        default="",
        description="clip, dinov2, siglip, facenet, a Hub repository, or a folder; left out: the preset's own.",
    )
    steps: int | None = Field(
        default=None, ge=1, le=1000, description="Sampling steps; left out: as usual for the model."
    )
    guidance: float | None = Field(
        default=None,
        ge=0,
        le=1000,
        description="Classifier-free guidance, 1 is none; left out: as usual for the model.",
    )
    precision: Precision = Field(
        default="auto", description="Of the base model; auto: bfloat16 where the hardware computes in it."
    )
    resolution: Size | None = Field(
        default=None, description="Pixels of an image's side, or WIDTHxHEIGHT; left out: the model's own."
    )
    decoder: str = Field(
        default="auto",
        min_length=1,
        description="auto: the preset's small decoder in discovery, the full one for pictures; full; or an "
        "AutoencoderTiny.",
    )
    quantize: Quantize = Field(
        default="none", description="The base model in 8 or 4 bits (needs the extra `quantize`)."
    )
    lora: str = Field(
        default="", description="A LoRA that becomes part of the base model, FILE or FILE:STRENGTH; left out: none."
    )
    seed: int = Field(default=0, ge=0, le=2**63 - 1, description="The run's seed: everything random follows from it.")
    images: str = Field(
        default="",
        description="A folder of pictures of your own to discover in, captions in .txt beside them; left out: the "
        "model's images of the prompts.",
    )

    pairs: tuple[Pair, ...] = Field(
        default=(), description="Sliders asked for in words, in place of those that are discovered (Concept Sliders)."
    )

    samples: int = Field(default=1000, ge=2, le=1_000_000, description="Trajectories to decompose.")
    embed: Literal["all", "final"] | tuple[int, ...] = Field(
        default="all",
        description="Which steps' previews to embed: all (published), final, or a list such as 3,5,7.",
    )

    sliders: int = Field(default=16, ge=1, le=10_000, description="How many directions, and sliders.")
    centring: Centring = Field(
        default="step", description="step: PCA about each step's mean; all: about one mean (published)."
    )
    rotation: Rotation = Field(
        default="independent",
        description="none: the axes of PCA (published); varimax: turned to where the spread is most uneven; "
        "independent: what varies by itself.",
    )
    control: Control = Field(
        default="none", description="Axes that nothing found in place of PCA's, to see what a score is worth."
    )

    rank: int = Field(default=1, ge=1, le=1024, description="Rank of each slider.")
    targets: Targets = Field(default="linear", description="Layers sliders act on; cross-kv is published.")
    up: Up = Field(default="trained", description="The up-projection: trained, or frozen (published).")
    objective: Objective = Field(
        default="sized",
        description="published: the cosine alone; sized: also holds the size of the move; customised: each slider "
        "learns an image; concept: what `concept` trains.",
    )
    eta: float = Field(
        default=1.0, gt=0, le=1000, description="How far past the two texts a slider of words goes (η of its paper)."
    )
    both_signs: bool = Field(default=True, description="Train strength −1 toward −v as well; one sign is published.")
    until: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Share of the embedded steps trained on, noisiest first; 1: all, as published.",
    )
    hold: float = Field(
        default=0.05,
        ge=0,
        le=1000,
        description="Weight of holding the other directions still, with --objective sized; 0: none (published).",
    )
    updates: int = Field(default=200, ge=1, le=10_000_000, description="Optimiser steps; each moves every slider.")
    lr: float = Field(default=5e-3, gt=0, le=1, description="Learning rate.")

    @field_validator("prompts")
    @classmethod
    def _said(cls, prompts: tuple[str, ...]) -> tuple[str, ...]:
        if not prompts or any(is_blank(p) for p in prompts):
            raise ValueError("the prompt is empty: say what to draw, for example “a portrait of a person”")
        if any(map(is_broken, prompts)):
            raise ValueError("the prompt is not text in UTF-8: type it in a terminal of that encoding")
        return tuple(p.strip() for p in prompts)

    @field_validator("resolution", mode="before")
    @classmethod
    def _sized(cls, resolution: object) -> Size | None:
        return None if resolution is None else size_from(resolution)

    @field_validator("embed", mode="before")
    @classmethod
    def _listed(cls, embed: object) -> object:
        """A list of steps may be written as text: "3,5,7" -> (3, 5, 7)."""
        if embed in ("all", "final"):
            return embed
        steps = _numbers(embed) if isinstance(embed, str) else embed
        if isinstance(steps, list | tuple) and steps and all(type(step) is int and step >= 0 for step in steps):
            return tuple(steps)
        raise ValueError(f"{shown(repr(embed)[:60])} is neither all, final, nor a list of steps such as 3,5,7")

    @model_validator(mode="after")
    def _possible(self) -> "Settings":
        if self.steps and isinstance(self.embed, tuple) and not all(0 <= t < self.steps for t in self.embed):
            raise ValueError(f"embed: there are steps 0 … {self.steps - 1}")
        if self.objective == "customised" and (self.control != "images" or self.both_signs):
            raise ValueError("sliders customised to images go one way, toward images: add --control images --one-sign")
        if bool(self.pairs) != (self.objective == "concept"):
            raise ValueError("sliders asked for in words are trained by the verb `concept`, and those alone")
        if self.pairs and (len(self.prompts) != 1 or len(self.pairs) != self.sliders or self.control != "none"):
            raise ValueError(f"{len(self.pairs)} pairs of words make as many sliders, of one prompt, without a control")
        return self

    def check_carried(self) -> "Settings":
        """Itself, or BadInput where there are too few trajectories for the directions asked for: what sampling need
        not know."""
        if self.sliders >= self.samples:
            raise BadInput(
                f"{self.samples} samples carry at most {self.samples - 1} sliders, and {self.sliders} are asked "
                f"for: raise samples, or ask for fewer sliders"
            )
        return self

    @property
    def given_axes(self) -> bool:
        """Whether its axes are given: nothing was fitted."""
        return self.control != "none" or bool(self.pairs)

    @property
    def held_out(self) -> int:
        """Trajectories sampled beyond `samples` that neither PCA nor training sees."""
        return max(8, min(64, self.samples // 16))


def _numbers(text: str) -> list[int] | None:
    """ "3,5,7" -> [3, 5, 7]; None where it is no list of numbers."""
    parts = [part.strip() for part in text.split(",")]
    return [int(part) for part in parts] if all(re.fullmatch("[0-9]{1,9}", part) for part in parts) else None


class Speed(BaseModel):
    """What changes only how fast a run is, and so is no part of any fingerprint."""

    model_config = FROZEN

    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:1, …")
    batch: int = Field(
        default=64,
        ge=1,
        le=65_536,
        description="Images drawn at a time; changes speed and memory, and pictures by a rounding at most.",
    )
    # Bounds the memory of an update, and is halved when that does not suffice.
    lanes: int = Field(
        default=16, ge=1, le=65_536, description="Sliders trained at a time; changes nothing but speed and memory."
    )
    checkpointing: bool = Field(
        default=False, description="Recompute activations: a third slower, several times less memory."
    )
    compile: bool = Field(
        default=False,
        description="Train with torch.compile: minutes at the first update, then a quarter to a third less time each.",
    )

    @field_validator("device")
    @classmethod
    def _device(cls, device: str) -> str:
        if not re.fullmatch("auto|(cpu|cuda|mps|xpu)(:[0-9]{1,3})?", device):
            raise ValueError(f"'{shown(device[:60])}' is no device: use auto, cpu, cuda or cuda:1")
        return device


class Measuring(BaseModel):
    """How much is drawn to set natural units and to measure sliders, and at which strengths."""

    model_config = FROZEN

    raw_sizes: tuple[float, ...] = (0.75, 1.5, 3.0)  # raw strengths tried, both signs: as far as training goes
    sizes: tuple[float, ...] = (1.0, 2.0, 3.0)  # natural units, both signs
    calibration_seeds: int = Field(default=6, ge=1)
    seeds: int = Field(default=16, ge=2)
    shown_seeds: int = Field(default=4, ge=1)  # of them, in the report's strips
    base_images: int = Field(default=32, ge=1)
    mixes: int = Field(default=8, ge=1)  # of the report's pictures of the model alone, drawn again with sliders on

    def images(self, sliders: int) -> int:
        """Images drawn for a space of `sliders`, at most: a unit that is found asks for no larger strengths."""
        swept = 2 * (len(self.raw_sizes) * self.calibration_seeds + len(self.sizes) * self.seeds)
        return sliders * swept + self.calibration_seeds + self.seeds + self.base_images + self.mixes

    def pictures(self, sliders: int) -> int:
        """Those of them that people see in the report."""
        return (2 * len(self.sizes) * sliders + 1) * self.shown_seeds + self.base_images + self.mixes


class WrongValues(BadInput):
    """Fields of a model with what is wrong about each; ("", why) where it is not one field's fault."""

    def __init__(self, wrong: list[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{field}: {why}" if field else why for field, why in wrong))
        self.wrong = wrong


Model = TypeVar("Model", bound=BaseModel)


def checked(model: type[Model], values: dict[str, Any]) -> Model:
    """The values as a model, or WrongValues with a line's worth of reason for each wrong field."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise WrongValues([(str((*e["loc"], "")[0]), _reason(dict(e), model)) for e in error.errors()]) from error


def _reason(error: dict[str, Any], model: type[BaseModel]) -> str:
    """Ours as it is; pydantic's with the value that it is about."""
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    if error["type"] == "extra_forbidden":
        return _unknown(str(error["loc"][-1]), model)
    said = str(error["msg"]).replace("Input should", "should").replace("String should", "should")
    return said if error["type"] == "missing" else f"{said}, not {shown(repr(error['input'])[:60])}"


def _unknown(name: str, model: type[BaseModel]) -> str:
    """What to say of a name that is no field."""
    if name in Speed.model_fields:
        return f"is no setting of a discovery: say speed=Speed({name}=…)"
    near = get_close_matches(name, model.model_fields, 1)
    return f"there is no such setting{f'; did you mean {near[0]}?' if near else ''}"


def settings_from(values: dict[str, Any]) -> Settings:
    """Settings, or WrongValues (a BadInput)."""
    return checked(Settings, values)
