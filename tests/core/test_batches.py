"""Work in batches on a device whose memory holds only so many."""

import pytest
import torch

from sliderspace.core.batches import BatchSize, in_batches
from sliderspace.core.errors import SliderSpaceError


class Device:
    """Runs out of memory above `holds` images, and counts how often."""

    def __init__(self, holds: int) -> None:
        self.holds, self.failures = holds, 0

    def work(self, part: range) -> list[int]:
        if len(part) > self.holds:
            self.failures += 1
            raise torch.OutOfMemoryError
        return list(part)


def test_every_index_is_done_once_and_in_order() -> None:
    for holds in range(1, 9):
        done = list(in_batches(3, 20, 8, Device(holds).work))
        assert [i for part, _ in done for i in part] == list(range(3, 20))
        assert all(result == list(part) and len(part) <= holds for part, result in done)


def test_the_halved_batch_is_remembered() -> None:
    device, batch = Device(5), BatchSize(16)
    for shard in range(4):
        list(in_batches(32 * shard, 32 * shard + 32, batch, device.work))
    assert batch.size == 4 and device.failures == 2, "16 and 8 are tried once, not once a shard"


def test_a_short_last_batch_is_no_reason_for_smaller_ones() -> None:
    device, batch = Device(4), BatchSize(4)
    list(in_batches(0, 5, batch, device.work))
    assert batch.size == 4 and device.failures == 0


def test_a_device_that_does_not_hold_one_is_an_error() -> None:
    with pytest.raises(SliderSpaceError, match="does not hold one image"):
        list(in_batches(0, 4, 4, Device(0).work))
