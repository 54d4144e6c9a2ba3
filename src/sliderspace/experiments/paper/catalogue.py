"""The experiments by name."""

from sliderspace.core.errors import BadInput
from sliderspace.experiments.paper.art import ART
from sliderspace.experiments.paper.concepts import CONCEPTS
from sliderspace.experiments.paper.data import DATA
from sliderspace.experiments.paper.diversity import DIVERSITY
from sliderspace.experiments.paper.experiment import Experiment
from sliderspace.experiments.paper.start import START
from sliderspace.experiments.paper.transfer import TRANSFER

EXPERIMENTS = {e.name: e for e in (CONCEPTS, ART, DATA, TRANSFER, START, DIVERSITY)}


def experiment(name: str) -> Experiment:
    """Raises BadInput for a name that is none."""
    if name not in EXPERIMENTS:
        raise BadInput(f"no experiment '{name}': choose among {', '.join(EXPERIMENTS)}")
    return EXPERIMENTS[name]
