"""Settings and a working point -> the fingerprint of each stage's result, without loading a model.

Each holds everything that its stage and the ones before it depend on. `SCHEMA` counts what the code of a stage makes of
the same settings: raise a number where its results change, and what older versions left is made anew.
"""

from dataclasses import dataclass

from sliderspace.core.settings import Measuring, Settings
from sliderspace.models.working_point import WorkingPoint
from sliderspace.storage.files import fingerprint

SCHEMA = {"sample": 3, "fit": 3, "observe": 1, "train": 3, "measure": 3, "evaluate": 3}
FITTED = {"samples", "sliders", "centring", "rotation", "control"}
SHAPED = {"rank", "targets", "up"}  # of the bank; the rest are the recipe's
TRAINED = {*SHAPED, "objective", "both_signs", "until", "hold", "updates", "lr"}


@dataclass(frozen=True)
class Fingerprints:
    """One of each stage. `drawn` is that of every trajectory: how many there are changes none of them."""

    drawn: str
    sampled: str
    fitted: str
    trained: str
    measured: str

    @classmethod
    def of(cls, settings: Settings, point: WorkingPoint, measuring: Measuring, pictures: str = "") -> "Fingerprints":
        """`pictures` is the fingerprint of a person's own pictures, where a run discovers in them."""
        drawn = stamp(
            "sample",
            model=point.identity,
            encoder=point.encoder_identity,
            prompts=settings.prompts,
            seed=settings.seed,
            embed=point.embed_T,
            pictures=pictures,
        )
        first = sampled(settings, drawn)
        second = fitted(settings, first)
        third = trained(settings, second)
        return cls(drawn, first, second, third, measured(settings, third, measuring, point.judge_identity))


def sampled(settings: Settings, drawn: str) -> str:
    """Of all trajectories, from that of each."""
    return fingerprint(after=drawn, count=settings.samples + settings.held_out)


def fitted(settings: Settings, sampled: str) -> str:
    """Of the directions."""
    pairs = {"pairs": [pair.model_dump() for pair in settings.pairs]} if settings.pairs else {}
    return stamp("fit", after=sampled, **pairs, **settings.model_dump(include=FITTED))


def observed(fitted: str) -> str:
    """Of observability.json, on which nothing depends."""
    return stamp("observe", after=fitted)


def trained(settings: Settings, fitted: str) -> str:
    """Of the sliders, and of config.json."""
    more: dict[str, object] = {"eta": settings.eta} if settings.pairs else {}
    if settings.objective == "customised":
        more["image"] = "own"  # a slider could learn one image and be measured along another's direction
    return stamp("train", after=fitted, **more, **settings.model_dump(include=TRAINED))


def measured(settings: Settings, trained: str, measuring: Measuring, judge: str) -> str:
    """Of the measures, and of the space."""
    more = {"prompts": "by seed"} if len(settings.prompts) > 1 else {}  # once by a seed's place alone
    more |= {"own": "no copies"} if settings.images else {}  # once real where a picture was its own copy
    return stamp("measure", after=trained, how=measuring.model_dump(), judge=judge, **more)


def stamp(stage: str, **inputs: object) -> str:
    """The fingerprint of a stage's result from its inputs."""
    return fingerprint(stage=stage, schema=SCHEMA[stage], **inputs)
