"""The model behind the page, and the queue before it: one request at a time, and of each tab only its newest."""

from collections import OrderedDict
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np

from sliderspace.core.arrays import Images
from sliderspace.core.errors import BadInput
from sliderspace.core.settings import Speed
from sliderspace.explore.mix import Mix
from sliderspace.space.space import SliderSpace
from sliderspace.storage.files import fingerprint
from sliderspace.storage.run_folder import RunFolder

TABS = 1000  # remembered at most
BASES = 4  # sets of pictures of the model alone that are kept


class Stale(Exception):
    """The tab has asked for something newer meanwhile."""


@dataclass(frozen=True)
class Drawn:
    """Pictures uint8 [N, H, W, 3] of the same seeds, without and with the sliders."""

    seeds: list[int]
    base: Images
    edited: Images

    @property
    def pairs(self) -> Images:
        """[N, 2, H, W, 3]"""
        return np.stack([self.base, self.edited], axis=1)


class Studio:
    """Draws for all tabs. Spaces of one working point share a model; the model of another one takes its place."""

    def __init__(self, speed: Speed | None = None):
        self.speed = speed or Speed()
        self._lock = Lock()  # whoever holds it draws
        self._counting = Lock()
        self._newest: OrderedDict[str, int] = OrderedDict()
        self._spaces: dict[Path, tuple[str, SliderSpace]] = {}
        self._bases: OrderedDict[object, Images] = OrderedDict()

    def is_loaded(self, folder: Path) -> bool:
        """Whether drawing needs no model to be loaded first."""
        held = self._spaces.get(folder)
        return held is not None and "backbone" in vars(held[1])

    def draw(self, folder: Path, mix: Mix, tab: str = "", ticket: int = 0) -> Drawn:
        """The model alone and with a mix. Raises Stale, BadInput for what cannot be drawn, or what the model raises."""
        seeds = mix.listed_seeds
        with self._turn(tab, ticket):
            space = self._space(folder)
            space.strengths(mix.active)  # before anything is drawn
            base = self._base(folder, space, mix, seeds)
            edited = base if not mix.active else _drawn(space, mix, seeds)
        return Drawn(seeds, base, edited)

    def sweep(self, folder: Path, mix: Mix, slider: int, scales: list[float], tab: str = "", ticket: int = 0) -> Images:
        """Pictures [S, M, H, W, 3] of one slider over scales, with the mix's prompt, seeds and steps."""
        seeds = mix.listed_seeds
        with self._turn(tab, ticket):
            return self._space(folder).sweep(
                slider, seeds, scales, prompt=mix.own_prompt, start_step=mix.start, end_step=mix.end
            )

    def forget(self) -> None:
        """Let the model go, for a discovery that needs the memory."""
        with self._lock:
            self._spaces.clear()

    @contextmanager
    def _turn(self, tab: str, ticket: int) -> Generator[None]:
        """Wait for the model; whoever has been overtaken by its own tab by then gives up."""
        with self._counting:
            self._newest[tab] = max(ticket, self._newest.pop(tab, ticket))
            while len(self._newest) > TABS:
                self._newest.popitem(last=False)
        with self._lock:
            if self._newest.get(tab, ticket) != ticket:
                raise Stale
            yield

    def _space(self, folder: Path) -> SliderSpace:
        """The space that is in a folder now, on a model that is shared where it can be."""
        place = RunFolder(folder).space  # whole: the same imported files may be given another model
        made_from = fingerprint(space=place.read_text()) if place.exists() else ""
        held = self._spaces.get(folder)
        if held is None or held[0] != made_from:
            self._spaces.pop(folder, None)
            space = SliderSpace.load(folder, self.speed)
            other = next((own for _, own in self._spaces.values() if own.point.identity == space.point.identity), None)
            if other:
                space.beside(other)
            else:
                self._spaces.clear()
            self._spaces[folder] = held = (made_from, space)
        return held[1]

    def _base(self, folder: Path, space: SliderSpace, mix: Mix, seeds: list[int]) -> Images:
        key = (folder, self._spaces[folder][0], mix.own_prompt, tuple(seeds))
        if key not in self._bases:
            self._bases[key] = space.generate(seeds, prompt=mix.own_prompt)
        self._bases.move_to_end(key)
        while len(self._bases) > BASES:
            self._bases.popitem(last=False)
        return self._bases[key]


def _drawn(space: SliderSpace, mix: Mix, seeds: list[int]) -> Images:
    return space.generate(seeds, mix.active, prompt=mix.own_prompt, start_step=mix.start, end_step=mix.end)


def scales_within(span: tuple[float, float], count: int = 7) -> list[float]:
    """Scales of a sweep from one end of a span to the other, 0 among them. BadInput for a span that has no middle."""
    low, high = span
    if not low < 0 < high or count < 3:
        raise BadInput(f"a span from {low:g} to {high:g} does not hold 0")
    half = count // 2
    return [*np.linspace(low, 0, half + 1)[:-1].tolist(), 0.0, *np.linspace(0, high, half + 1)[1:].tolist()]
