"""The stored strips of a run as pictures for other places: the Hub's card, and beside and inside LoRA files."""

from dataclasses import dataclass

from sliderspace.core.arrays import Images
from sliderspace.core.errors import DamagedFile
from sliderspace.measure.results import Measures
from sliderspace.method.sweeps import both_ways
from sliderspace.storage.files import load_tensors, stored_fingerprint
from sliderspace.storage.images import grid, labelled_strip, scale_label, thumbnails
from sliderspace.storage.run_folder import RunFolder
from sliderspace.storage.stamps import damaged

SEEDS = 2  # rows of a picture
SIDE = 160  # pixels of each picture of a cover
ICON = 256  # pixels of a side, as ModelSpec asks for


@dataclass(frozen=True)
class Strips:
    """Pictures uint8 of K sliders on S seeds at M strengths (natural units), and of the base model."""

    sliders_KSMHWC: Images
    base_NHWC: Images
    scales: tuple[float, ...]

    @property
    def labels(self) -> list[str]:
        return [scale_label(scale) for scale in self.scales]

    def cover(self, k: int) -> Images:
        """A labelled sheet of slider `k` that is still read at the size of a menu: two seeds, turned down, off, up."""
        columns = self._columns()
        return _sheet(self.sliders_KSMHWC[k][:, columns], [self.labels[m] for m in columns])

    def icon(self, k: int) -> Images:
        """A square of slider `k`, two seeds turned down and up."""
        low, _, high = self._columns()
        return square(self.sliders_KSMHWC[k][:, [low, high]])

    def _columns(self) -> list[int]:
        """Those of ±2, where images still hold together, or of the ends where there is no 2; and of 0."""
        largest = 2.0 if {-2.0, 2.0} <= set(self.scales) else max(self.scales)
        return [self.scales.index(scale) for scale in (-largest, 0.0, largest)]


def before_and_after(images_S2HWC: Images) -> Images:
    """A labelled sheet of a mix, two seeds, without and with it."""
    return _sheet(images_S2HWC, ["without", "with"])


def square(images_S2HWC: Images) -> Images:
    """An icon of two seeds, two pictures of each."""
    small_S2HWC = thumbnails(images_S2HWC[:SEEDS], ICON // 2 - 1)
    return grid(small_S2HWC.reshape(-1, *small_S2HWC.shape[2:]), 2)


def _sheet(images_SMHWC: Images, labels: list[str]) -> Images:
    return labelled_strip(thumbnails(images_SMHWC[:SEEDS], SIDE), labels)


def stored_strips(run: RunFolder) -> Strips | None:
    """The strips of the finished space in a folder; None where it has none (an imported space), or those of another.

    Raises DamagedFile where their file is broken.
    """
    if not run.strips.exists() or stored_fingerprint(run.strips) != stored_fingerprint(run.space):
        return None
    drawn = load_tensors(run.strips, kind="strips")[0]
    if not {"sliders", "base"} <= drawn.keys():
        raise DamagedFile(
            f"{run.strips} lacks its pictures.\nDelete it and run `sliderspace train {run.typed}` to make it again."
        )
    sliders_KSMHWC, scales = drawn["sliders"].numpy(), both_ways(Measures.read(run.measures).sizes)
    if sliders_KSMHWC.ndim != 6 or sliders_KSMHWC.shape[2] != len(scales):
        raise damaged(run.strips, f"does not hold {len(scales)} pictures of each seed")
    return Strips(sliders_KSMHWC, drawn["base"].numpy(), tuple(float(scale) for scale in scales))
