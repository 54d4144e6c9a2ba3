"""What sets of pictures are worth: rows of measures from what encoders see in them. Judged by the judge alone."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from sliderspace.core.arrays import Array
from sliderspace.experiments.paper.experiment import Cell, Column, Row
from sliderspace.experiments.paper.pictures import Shared
from sliderspace.measure.sets.frechet import Statistics, frechet_distance
from sliderspace.measure.sets.kernel import kernel_distance
from sliderspace.measure.sets.manifold import coverage, density, precision, recall
from sliderspace.measure.sets.text import clip_score
from sliderspace.measure.sets.variety import mean_pairwise_distance, vendi_score
from sliderspace.method.sweeps import Seen

VARIETY = (
    Column("pairwise distance", "higher", plotted=True),
    Column("Vendi score", "higher", plotted=True),
    Column("CLIP-score", "higher"),
)
LIKENESS = (
    Column("Fréchet distance", "lower", plotted=True),
    Column("kernel distance", "lower"),
    Column("precision", "higher"),
    Column("recall", "higher", plotted=True),
    Column("density", "higher"),
    Column("coverage", "higher"),
)
REFERENCE = "reference"  # the set that others are compared with; also the noise of its pictures, which no arm shares


def variety(own: Seen, prompts: Sequence[str], shared: Shared) -> Row:
    """How varied a set is, and how well picture n shows prompt n modulo their number."""
    z_ND = judged(own)
    return {
        "pairwise distance": mean_pairwise_distance(z_ND),
        "Vendi score": vendi_score(z_ND),
        "CLIP-score": text_score(own, prompts, shared),
    }


def likeness(reference: Seen, own: Seen) -> Row:
    """How like the reference a set of as many pictures is."""
    real_ND, z_ND = judged(reference), judged(own)
    return {
        "Fréchet distance": frechet_distance(Statistics.of([real_ND]), Statistics.of([z_ND])),
        "kernel distance": kernel_distance(real_ND, z_ND)[0],
        "precision": precision(real_ND, z_ND),
        "recall": recall(real_ND, z_ND),
        "density": density(real_ND, z_ND),
        "coverage": coverage(real_ND, z_ND),
    }


def beside_reference(cell: Cell, seen: Mapping[str, Seen], shared: Shared) -> Row:
    """How like the cell's reference its own pictures are, and how varied."""
    own = seen["own"]
    return likeness(seen[REFERENCE], own) | variety(own, cell.sets["own"].model.prompts, shared)


def judged(seen: Seen) -> Array:
    """Features [N, E] of the judge."""
    return array(seen["judge"])


def array(values: Tensor) -> Array:
    return values.double().numpy()


def text_score(own: Seen, prompts: Sequence[str], shared: Shared) -> float | None:
    """CLIP-score by the encoder that discoveries are made by; None where it reads no words."""
    text_PD = shared.words(prompts)
    if text_PD is None:
        return None
    rows = [n % len(prompts) for n in range(len(own["z"]))]
    return clip_score(array(own["z"]), array(text_PD[rows]))
