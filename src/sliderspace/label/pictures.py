"""The pictures that names are made from: a run's strips, and what is drawn where those are too few.

K sliders, S seeds, M strengths, N pictures of the model alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sliderspace.core.arrays import Array, Images
from sliderspace.core.errors import DamagedFile
from sliderspace.core.seeds import seed_for
from sliderspace.measure.results import Measures, SpaceFile
from sliderspace.method.sweeps import both_ways
from sliderspace.space.space import SliderSpace
from sliderspace.storage.files import exists, load_tensors
from sliderspace.storage.images import labelled_strip
from sliderspace.storage.run_folder import RunFolder

FAR = 2.0  # units: what sliders are looked at with; beyond, pictures begin to break
SEEDS = 4  # that a name is made from, at least
UNSEEN = 4  # seeds that a service's name is tested on: never shown, never measured
BASE = 32  # pictures of the model alone, for the control
LEAST_BASE = 8  # fewer make no control
LEAST_SIDE = 224  # pixels: smaller pictures are enlarged for a vision-language model
PURPOSE = "label"  # names the seeds, which are used for nothing else


@dataclass(frozen=True)
class Pictures:
    """Sweeps uint8 [K, S, M, H, W, 3] at ascending strengths -FAR … FAR with 0 among them, and `base` uint8
    [N, H, W, 3]."""

    sliders: Images
    strengths_M: Array
    base: Images

    @property
    def ends(self) -> tuple[int, int, int]:
        """The columns of the lowest strength, none, and the highest."""
        return 0, int(np.abs(self.strengths_M).argmin()), len(self.strengths_M) - 1


def pictures_of(space: SliderSpace) -> Pictures:
    """A space's strips where they show SEEDS seeds, else pictures drawn now (for imported sliders there are none)."""
    found = _strips(RunFolder(space.folder), len(space))
    if found and found.sliders.shape[1] >= SEEDS and len(found.base) >= LEAST_BASE:
        return found
    return drawn(space, SEEDS)


def drawn(space: SliderSpace, count: int) -> Pictures:
    """Pictures of `count` seeds that nothing else shows, drawn now."""
    strengths_M = both_ways((FAR / 2, FAR))
    seeds = _seeds(space, count, first=UNSEEN)
    sweeps = [space.sweep(k, seeds, strengths_M.tolist()) for k in range(len(space))]
    return Pictures(np.stack(sweeps), strengths_M, space.generate(_seeds(space, BASE, first=UNSEEN + count)))


def unseen(space: SliderSpace, slider: int) -> Images:
    """One slider at -FAR and +FAR on UNSEEN seeds that nothing else shows, drawn now: uint8 [UNSEEN, 2, H, W, 3]."""
    return space.sweep(slider, _seeds(space, UNSEEN), (-FAR, FAR))


def sheet(pictures: Pictures, slider: int, rows: int) -> Images:
    """A slider for a person or a model to look at: a row a seed, its low end, none of it, its high end."""
    shown_SMHWC = pictures.sliders[slider, :rows][:, list(pictures.ends)]
    return labelled_strip(enlarged(shown_SMHWC), ("low", "without", "high"))


def enlarged(images: Images) -> Images:
    """[..., H, W, 3] with every pixel repeated until the longer side has LEAST_SIDE."""
    times = -(-LEAST_SIDE // max(images.shape[-3:-1]))
    return images.repeat(times, axis=-3).repeat(times, axis=-2)


def _strips(run: RunFolder, count: int) -> Pictures | None:
    """What the run stored of its finished space; None where it has no such file, or one of another space."""
    if not (exists(run.strips) and exists(run.measures) and exists(run.space)) or SpaceFile.read(run.space).foreign(
        run
    ):
        return None
    drawn = load_tensors(run.strips, kind="strips")[0]
    strengths_M = both_ways(Measures.read(run.measures).sizes)
    if not {"sliders", "base"} <= drawn.keys() or drawn["sliders"].shape[:3:2] != (count, len(strengths_M)):
        raise DamagedFile(f"{run.strips} does not hold the pictures of these sliders.\n{Measures.mending(run.strips)}")
    near = np.abs(strengths_M) <= max(FAR, np.abs(strengths_M[strengths_M != 0]).min())
    return Pictures(drawn["sliders"].numpy()[:, :, near], strengths_M[near], drawn["base"].numpy())


def _seeds(space: SliderSpace, count: int, first: int = 0) -> Sequence[int]:
    return [seed_for(space.settings.seed, PURPOSE, first + i) for i in range(count)]
