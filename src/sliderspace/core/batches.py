"""Work in batches that fits whatever memory there is."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch

from sliderspace.core.errors import SliderSpaceError

Result = TypeVar("Result")


@dataclass
class BatchSize:
    """How many a device is given at a time. Halved where its memory does not suffice; whoever keeps it need not find
    that out again."""

    size: int


def in_batches(
    first: int, last: int, batch: BatchSize | int, work: Callable[[range], Result]
) -> Iterator[tuple[range, Result]]:
    """`work` on the indices first … last−1, `batch` at a time, and half as many from then on where the device's memory
    does not suffice.

    Raises SliderSpaceError when it does not even hold one.
    """
    batch = BatchSize(batch) if isinstance(batch, int) else batch
    while first < last:
        part = range(first, min(first + batch.size, last))
        try:
            result = work(part)
        except torch.OutOfMemoryError as error:
            if len(part) == 1:
                raise SliderSpaceError(
                    "the device's memory does not hold one image: try --quantize 4bit, or a smaller --resolution"
                ) from error
            batch.size = len(part) // 2
            torch.cuda.empty_cache()
            continue
        yield part, result
        first = part.stop
