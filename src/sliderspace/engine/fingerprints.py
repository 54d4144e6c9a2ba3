"""Settings and the fingerprint of the stage before -> the fingerprint of a stage: what its file was made from.

Each holds everything that its stage and the ones before it depend on, so that a chain of them can be followed through
the files of a folder without loading a model.
"""

from sliderspace.core.settings import Settings
from sliderspace.storage.files import fingerprint

# The settings that a stage adds to those before it.
FITTED = {"samples", "sliders", "centring", "rotation", "control"}
SHAPED = {"rank", "targets", "up"}  # of the bank; the rest are the recipe's
TRAINED = {*SHAPED, "objective", "both_signs", "until", "hold", "updates", "lr"}


def sampled(settings: Settings, drawn: str) -> str:
    return fingerprint(after=drawn, count=settings.samples + settings.held_out)


def fitted(settings: Settings, sampled: str) -> str:
    return fingerprint(stage="fit", after=sampled, **settings.model_dump(include=FITTED))


def trained(settings: Settings, fitted: str) -> str:
    """Also the fingerprint of config.json."""
    return fingerprint(stage="train", after=fitted, **settings.model_dump(include=TRAINED))
