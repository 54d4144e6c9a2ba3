"""How much is measured: in full where pictures are cheap, within a third of the discovery where they are dear."""

import pytest

from sliderspace.core.settings import Measuring
from sliderspace.method.measuring import CHEAP, SHARE, Work, chosen_for

FULL = Measuring()


def work(image: float) -> Work:
    """A discovery that samples and trains for as much as 1,000 images cost at 10 TFLOP, whatever an image costs."""
    return Work(sample=5000.0, train=5000.0, checkpointed_train=7000.0, image=image)


def test_what_is_cheap_is_measured_in_full_whatever_its_share() -> None:
    small = Work(sample=0.0, train=1.0, checkpointed_train=1.0, image=0.99 * CHEAP / FULL.images(16))
    assert small.share(FULL, 16) > SHARE and chosen_for(small, 16) == FULL


@pytest.mark.parametrize("image", [1.0, 3.0, 5.0, 7.0])
def test_the_share_is_kept(image: float) -> None:
    chosen = chosen_for(work(image), 16)
    assert work(image).share(chosen, 16) <= SHARE
    assert (chosen == FULL) == (work(image).share(FULL, 16) <= SHARE)


def test_dearer_images_are_never_measured_more() -> None:
    counts = [chosen_for(work(image), 16).images(16) for image in (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 1000.0)]
    assert counts == sorted(counts, reverse=True) and len(set(counts)) > 3


def test_there_is_a_least_that_still_says_something() -> None:
    least = chosen_for(work(1e6), 16)
    assert (least.calibration_seeds, least.seeds) == (3, 6)
    assert {1.0, 2.0} <= set(least.sizes) and max(least.raw_sizes) == max(FULL.raw_sizes)
