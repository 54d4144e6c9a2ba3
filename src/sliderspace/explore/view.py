"""`explore.json` of a run folder: presets by name, and the sliders that are hidden on the page.

Like names, they belong to the sliders: the file carries the fingerprint of the sliders' file, and is not shown for
sliders that were trained anew.
"""

from collections.abc import Callable
from typing import ClassVar

from pydantic import Field

from sliderspace.core.errors import BadInput
from sliderspace.core.text import is_blank, one_line
from sliderspace.explore.mix import Mix
from sliderspace.measure.results import SpaceFile, Stored
from sliderspace.storage.files import is_done
from sliderspace.storage.locks import holding
from sliderspace.storage.run_folder import RunFolder

MOST_PRESETS = 200
MOST_NAME = 60  # characters


class View(Stored):
    """How a person left the page of these sliders."""

    kind: ClassVar[str] = "explore"
    advice: ClassVar[str] = "Undo the last change of it, or delete it: it holds presets and what is hidden."

    presets: dict[str, Mix] = Field(default_factory=dict[str, Mix])
    hidden: tuple[int, ...] = ()


def view_of(run: RunFolder) -> View:
    """The view of the finished space in a folder; an empty one where there is none. DamagedFile where it is broken."""
    return View.read(run.explore) if is_done(run.explore, _made_from(run)) else View()


def change_view(run: RunFolder, how: Callable[[View], View]) -> View:
    """Read, change and write it while nobody else does; returns what was written."""
    made_from = _made_from(run)
    with holding(run.root / ".explore.lock"):
        changed = how(View.read(run.explore) if is_done(run.explore, made_from) else View())
        changed.write(run.explore, made_from)
    return changed


def with_preset(view: View, name: str, mix: Mix) -> View:
    """The view with a preset more, or another one of that name. BadInput for a name that is empty or too long, or one
    preset too many."""
    title = one_line(name)
    if is_blank(title) or len(title) > MOST_NAME:
        raise BadInput(f"a preset's name has 1 to {MOST_NAME} characters")
    presets = {**view.presets, title: mix}
    if len(presets) > MOST_PRESETS:
        raise BadInput(f"there are {MOST_PRESETS} presets already: delete one first")
    return view.model_copy(update={"presets": presets})


def without_preset(view: View, name: str) -> View:
    return view.model_copy(update={"presets": {n: mix for n, mix in view.presets.items() if n != name}})


def with_hidden(view: View, slider: int, hidden: bool) -> View:
    rest = set(view.hidden) - {slider}
    return view.model_copy(update={"hidden": tuple(sorted(rest | {slider} if hidden else rest))})


def _made_from(run: RunFolder) -> str:
    run.check_exists()
    if (files := run.whole_space()) is None:
        raise BadInput(f"{run.root} is not finished.\nGo on with it: sliderspace discover --out {run.typed}")
    return SpaceFile.read(files["space"]).made_from.sliders
