"""What an experiment is: cells (one arm on one subject with one run seed), and what is measured of their pictures."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sliderspace.core.errors import BadInput
from sliderspace.core.recipes import CONCEPT_RECIPES
from sliderspace.core.settings import Pair, Settings, settings_from
from sliderspace.experiments.paper.pictures import Pictures, Shared
from sliderspace.experiments.paper.worlds import World
from sliderspace.method.sweeps import Seen
from sliderspace.models.backbones.presets import preset_for

JUDGES = ("dinov2", "siglip")  # of a model whose preset has none: the first that trained nothing
OF_MODEL = ("encoder", "precision", "resolution", "decoder", "quantize", "lora")  # hold for a teacher too
OF_STUDENT = ("steps", "guidance")
Row = dict[str, float | None]


@dataclass(frozen=True)
class Asked:
    """What the command asks of an experiment. `common` are settings typed for every discovery and drawing. Raises
    BadInput where the judge is the encoder that sliders are trained by."""

    backbone: str
    world: World
    seeds: int = 3
    teacher: str = ""
    judge: str = ""
    reference: str = ""  # a folder of pictures
    common: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        if self.judge and self.judge == self.encoder_location:
            raise BadInput(f"{self.judge} finds and trains the sliders here: another encoder has to judge them")

    @property
    def judge_at(self) -> str:
        usual = (preset_for(self.backbone).judge, *JUDGES)
        return self.judge or next(at for at in usual if at and at != self.encoder_location)

    @property
    def encoder_location(self) -> str:
        return self.common.get("encoder") or preset_for(self.backbone).encoder

    def model(self, *prompts: str, teacher: bool = False) -> Settings:
        """The model and what it draws."""
        kept = OF_MODEL if teacher else (*OF_MODEL, *OF_STUDENT)
        typed = {name: value for name, value in self.common.items() if name in kept}
        return settings_from({**typed, "prompts": prompts, "backbone": self.teacher if teacher else self.backbone})

    def space(self, *prompts: str, seed: int, sliders: int = 0, teacher: bool = False, **more: Any) -> Settings:
        """A discovery in some prompts."""
        typed = {k: v for k, v in self.common.items() if not (teacher and k in OF_STUDENT)}
        amounts = {"samples": self.world.samples, "sliders": sliders or self.world.sliders}
        about = {"prompts": prompts, "backbone": self.teacher if teacher else self.backbone, "seed": seed}
        return settings_from({**amounts, **typed, **more, **about})

    def asked_in_words(self, prompt: str, words: tuple[str, ...], seed: int) -> Settings:
        """Concept Sliders, one for each of some words, of the same trajectories as a discovery in the prompt."""
        recipe = {k: v for k, v in CONCEPT_RECIPES["default"].items() if k != "samples"}
        pairs = tuple(Pair(plus=word) for word in words)
        return self.space(prompt, seed=seed, sliders=len(pairs), **recipe, pairs=pairs)


@dataclass(frozen=True)
class Cell:
    """One arm on one subject (a concept, "" where there is one only) with one run seed; its sets by the part they
    play, "own" being those that are shown."""

    about: str
    arm: str
    seed: int
    sets: Mapping[str, Pictures]

    @property
    def spaces(self) -> tuple[Settings, ...]:
        """The discoveries its pictures need."""
        found = [pictures.space for pictures in self.sets.values() if pictures.space]
        return tuple(dict.fromkeys(found))


@dataclass(frozen=True)
class Column:
    """A measure: `better` is "higher", "lower" or "" where neither is; `plotted` ones get a chart."""

    name: str
    better: str = ""
    plotted: bool = False


Measure = Callable[[Cell, Mapping[str, Seen], Shared], Row]


@dataclass(frozen=True)
class Experiment:
    """`paper` is one line of what the paper found, `backbone` the model it is run on where none is named."""

    name: str
    asks: str
    paper: str
    columns: tuple[Column, ...]
    cells: Callable[[Asked], list[Cell]]
    measure: Measure
    backbone: str = "mini-turbo"
