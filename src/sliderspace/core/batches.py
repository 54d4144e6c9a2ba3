"""Work in batches that fits whatever memory there is."""

from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

from sliderspace.core.errors import SliderSpaceError

Result = TypeVar("Result")


def in_batches(first: int, last: int, size: int, work: Callable[[range], Result]) -> Iterator[tuple[range, Result]]:
    """`work` on the indices first … last−1, `size` at a time, and half as many from then on where the device's memory
    does not suffice.

    Raises SliderSpaceError when it does not even hold one.
    """
    while first < last:
        part = range(first, min(first + size, last))
        try:
            result = work(part)
        except torch.OutOfMemoryError as error:
            if size == 1:
                raise SliderSpaceError(
                    "the device's memory does not hold one image: try --quantize 4bit, or a smaller --resolution"
                ) from error
            size = max(1, min(size, len(part)) // 2)
            torch.cuda.empty_cache()
            continue
        yield part, result
        first = part.stop
