"""What a discovery was asked for, frozen. Unknown keys are refused; what only changes speed is not here but in
`Speed`."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from sliderspace.core.errors import BadInput

Targets = Literal["cross-kv", "cross", "attention", "linear"]
Precision = Literal["auto", "float32", "bfloat16"]
Quantize = Literal["none", "8bit", "4bit"]
Control = Literal["none", "random", "differences", "images"]
Centring = Literal["all", "step"]
Rotation = Literal["none", "varimax"]
Up = Literal["trained", "frozen"]
Objective = Literal["published", "sized", "customised"]


class Settings(BaseModel):
    """Everything that decides what a run finds. Defaults are those that measured best on the miniature
    (docs/log.md)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompts: tuple[str, ...]
    backbone: str = "mini"
    encoder: str = ""  # a folder; empty: the preset's own
    steps: int | None = Field(default=None, ge=1)
    guidance: float | None = Field(default=None, ge=0)
    precision: Precision = "auto"
    resolution: int | None = Field(default=None, ge=8)
    decoder: str = "auto"  # auto: the preset's small one; full; or the folder or repository of an AutoencoderTiny
    quantize: Quantize = "none"
    seed: int = Field(default=0, ge=0)
    images: str = ""  # a folder of a person's own pictures to discover in; empty: the model's images of the prompts

    samples: int = Field(default=1000, ge=2)
    embed: Literal["all", "final"] | tuple[int, ...] = "all"

    sliders: int = Field(default=16, ge=1)
    centring: Centring = "step"
    rotation: Rotation = "varimax"
    control: Control = "none"  # axes that nothing found in place of PCA's, to see what a score is worth

    rank: int = Field(default=1, ge=1)
    targets: Targets = "cross-kv"
    up: Up = "trained"
    objective: Objective = "sized"
    both_signs: bool = True
    until: float = Field(
        default=0.6, gt=0, le=1
    )  # the share of embedded steps trained on, noisiest first; 1: all, as published
    hold: float = Field(default=0.05, ge=0)  # weight of holding the other directions still
    updates: int = Field(default=300, ge=1)
    lr: float = Field(default=3e-3, gt=0)

    @field_validator("prompts")
    @classmethod
    def _said(cls, prompts: tuple[str, ...]) -> tuple[str, ...]:
        if not prompts or any(not p.strip() for p in prompts):
            raise ValueError("the prompt is empty: say what to draw, for example “a portrait of a person”")
        return tuple(p.strip() for p in prompts)

    @model_validator(mode="after")
    def _carried(self) -> "Settings":
        if self.sliders >= self.samples:
            raise ValueError(
                f"{self.samples} samples carry at most {self.samples - 1} sliders, and {self.sliders} are asked "
                f"for: raise samples"
            )
        if self.objective == "customised" and (self.control != "images" or self.both_signs):
            raise ValueError("sliders customised to images go one way, toward images: add --control images --one-sign")
        return self

    @property
    def held_out(self) -> int:
        """Trajectories sampled beyond `samples` that neither PCA nor training sees."""
        return max(8, min(64, self.samples // 16))


# Whole sets of settings by name. "paper" is the published method; its learning rate and updates are those of the
# authors' released program, for the paper names none. What that program does wrong (see docs/design.md) is not copied.
PAPER: dict[str, Any] = {
    "embed": "all",
    "centring": "all",
    "rotation": "none",
    "rank": 1,
    "targets": "cross-kv",
    "up": "frozen",
    "objective": "published",
    "both_signs": False,
    "until": 1.0,
    "hold": 0.0,
    "updates": 281,
    "lr": 2e-3,
}
RECIPES: dict[str, dict[str, Any]] = {
    "default": {key: Settings.model_fields[key].default for key in PAPER},
    "paper": PAPER,
}


def recipe(name: str) -> dict[str, Any]:
    """The settings of a recipe. Raises BadInput for a name that is none."""
    if name not in RECIPES:
        raise BadInput(f"no recipe '{name}': choose {' or '.join(RECIPES)}")
    return RECIPES[name]


class Speed(BaseModel):
    """What changes only how fast a run is, and so is no part of any fingerprint."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: str = "auto"
    batch: int = Field(default=64, ge=1)  # images drawn at a time
    lanes: int = Field(
        default=16, ge=1
    )  # sliders trained at a time; bounds the memory of an update, halved when it does not suffice
    checkpointing: bool = False  # recompute activations in the backward pass: a third slower, several times smaller


class Measuring(BaseModel):
    """How much is drawn to set natural units and to measure sliders, and at which strengths. Part of what measures are
    made from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    raw_sizes: tuple[float, ...] = (0.5, 1.0, 2.0, 3.0)  # raw strengths tried, both signs: as far as training goes
    sizes: tuple[float, ...] = (1.0, 2.0, 3.0)  # natural units, both signs
    calibration_seeds: int = Field(default=6, ge=1)
    seeds: int = Field(default=16, ge=2)
    shown_seeds: int = Field(default=4, ge=1)  # of them, in the report's strips
    base_images: int = Field(default=32, ge=1)

    def images(self, sliders: int) -> int:
        """Images drawn for a space of `sliders`."""
        swept = 2 * (len(self.raw_sizes) * self.calibration_seeds + len(self.sizes) * self.seeds)
        return sliders * swept + self.calibration_seeds + self.seeds + self.base_images


def settings_from(values: dict[str, object]) -> Settings:
    """Settings, or BadInput with pydantic's reason in one line for each wrong field."""
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        lines = [": ".join((*map(str, e["loc"]), e["msg"].removeprefix("Value error, "))) for e in error.errors()]
        raise BadInput("; ".join(lines)) from error
