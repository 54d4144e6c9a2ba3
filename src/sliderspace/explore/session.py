"""What the page may ask for, by name: each action takes plain data and answers with plain data. No web.

Nothing of a tab is kept here, so tabs cannot see each other's sliders; run folders are named by number, so no request
can name a file.
"""

import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any, cast

from pydantic import ConfigDict, ValidationError, validate_call

from sliderspace.core.errors import BadInput, SliderSpaceError
from sliderspace.core.settings import Settings, Speed
from sliderspace.core.text import shown
from sliderspace.explore.discovery import Asked, Discovery
from sliderspace.explore.mix import Mix
from sliderspace.explore.pictures import Downloads, drawn_pictures
from sliderspace.explore.stored import page_of
from sliderspace.explore.studio import Stale, Studio, scales_within
from sliderspace.explore.view import change_view, with_hidden, with_preset, without_preset
from sliderspace.measure.results import SpaceFile
from sliderspace.models.backbones import PRESETS
from sliderspace.report.gallery import runs_in
from sliderspace.share.export import export, export_mix
from sliderspace.space.labels import labels_of, rename
from sliderspace.space.space import SliderSpace
from sliderspace.storage.run_folder import RunFolder

Answer = dict[str, Any]
STRICT = ConfigDict(extra="forbid")
checked = validate_call(config=STRICT)


class Session:
    """One app over some run folders, or folders of runs. Raises BadInput where one of them holds no finished space."""

    def __init__(self, folders: Sequence[Path], speed: Speed | None = None):
        named = [folder.expanduser().resolve() for folder in folders]
        self._folders = list(dict.fromkeys(run for folder in named for run in _runs_at(folder)))
        if not self._folders:
            raise BadInput("name a run folder: sliderspace explore runs/monster")
        self.studio = Studio(speed)
        self.discovery = Discovery(self._folders[0].parent)
        self._adding = Lock()
        self._actions: dict[str, Callable[..., Answer]] = {
            action.__name__: action
            for action in (
                *(self.runs, self.open, self.draw, self.sweep, self.rename, self.hide, self.save_preset),
                *(self.delete_preset, self.export, self.export_whole, self.discover, self.progress),
                *(self.pause, self.go_on, self.stop),
            )
        }

    def act(self, asked: object) -> Answer:
        """{"action": name, …} -> its answer, or {"error": what to do}, or {"stale": True}. Never raises. With `of`, the
        `made_from` of the page that asks: only where `run` still holds those sliders."""
        values = dict(cast("dict[str, object]", asked)) if isinstance(asked, dict) else {}
        action, of = self._actions.get(str(values.pop("action", ""))), values.pop("of", None)
        try:
            if of is not None:
                self._check_same(values.get("run"), of)
            return action(**values) if action else {"error": "the page asked for what there is not: load it again"}
        except Stale:
            return {"stale": True}
        except SliderSpaceError as error:
            return {"error": shown(str(error))}
        except ValidationError as error:
            return {"error": in_words(error)}
        except Exception as error:  # whatever a model may raise: the page says it and goes on
            traceback.print_exc(file=sys.stderr)
            return {"error": shown(f"that failed: {type(error).__name__}: {str(error)[:300]}")}

    # ---- looking

    @checked
    def runs(self) -> Answer:
        """The run folders, by their prompts, and the models that a discovery may use."""
        discovery = self._progress()  # which may add a folder
        spaces = self._settings()
        names = [f"{shown(s.prompts[0]) if s else 'not there'} ({folder.name})" for folder, s in spaces.items()]
        models = list(dict.fromkeys([*(s.backbone for s in spaces.values() if s), *PRESETS]))
        return {"runs": names, "models": models, "discovery": discovery}

    @checked
    def open(self, run: int) -> Answer:
        """Everything the page shows of a run before a model is loaded."""
        own = self._run(run)
        return {**page_of(own).model_dump(mode="json"), "loaded": self.studio.is_loaded(own.root)}

    # ---- drawing

    @checked
    def draw(self, run: int, mix: Mix, tab: str = "", ticket: int = 0) -> Answer:
        """Base and edited pictures of the same seeds."""
        return {"pictures": drawn_pictures(self.studio.draw(self._run(run).root, mix, tab, ticket))}

    @checked
    def sweep(self, run: int, mix: Mix, slider: int, span: tuple[float, float], tab: str = "") -> Answer:
        """A slider's strip and moving picture, to look at and to save."""
        scales = scales_within(span)
        images = self.studio.sweep(self._run(run).root, mix, slider, scales, f"{tab} sweep")
        return Downloads.of(images, scales).model_dump()

    # ---- names and presets

    @checked
    def rename(self, run: int, slider: int, name: str) -> Answer:
        """An empty name takes a person's name back."""
        label = rename(self._run(run), {slider: name}).sliders[slider]
        return {"name": label.name or "", "sure": label.sure}

    @checked
    def hide(self, run: int, slider: int, hidden: bool) -> Answer:
        if not 0 <= slider < len(labels_of(self._run(run)).sliders):
            raise BadInput(f"no slider {slider}")
        return {"hidden": change_view(self._run(run), lambda view: with_hidden(view, slider, hidden)).hidden}

    @checked
    def save_preset(self, run: int, name: str, mix: Mix) -> Answer:
        view = change_view(self._run(run), lambda view: with_preset(view, name, mix))
        return {"presets": view.model_dump(mode="json")["presets"]}

    @checked
    def delete_preset(self, run: int, name: str) -> Answer:
        view = change_view(self._run(run), lambda view: without_preset(view, name))
        return {"presets": view.model_dump(mode="json")["presets"]}

    @checked
    def export(self, run: int, sliders: list[int]) -> Answer:
        """LoRA files of some sliders in the folder's `lora`, as `sliderspace export` writes them."""
        folder = self._run(run).root
        paths = export(SliderSpace.load(folder, self.studio.speed), folder / "lora", sliders=sorted(set(sliders)))
        return {"folder": str(folder / "lora"), "files": [path.name for path in paths]}

    @checked
    def export_whole(self, run: int, mix: Mix, name: str = "") -> Answer:
        """A mix as one LoRA file in the folder's `lora`, with the pictures that the file itself draws."""
        folder = self._run(run).root
        if not mix.active:
            raise BadInput("turn a slider first: a mix without one is the model as it was")
        at_all_steps = mix.model_copy(update={"start": 0, "end": None})
        drawn = self.studio.draw(folder, at_all_steps, f"{folder} export")
        space = SliderSpace.load(folder, self.studio.speed)
        path = export_mix(space, folder / "lora", mix.active, name=name, pictures=drawn.pairs)
        note = "" if at_all_steps == mix else "A file acts at every step, not only at those chosen here."
        return {"folder": str(folder / "lora"), "files": [path.name], "note": note}

    # ---- discovering

    @checked
    def discover(self, asked: Asked) -> Answer:
        """With a model of the page: a preset, or that of a run, which is then used as it was there."""
        like = next((s for s in self._settings().values() if s and s.backbone == asked.backbone), None)
        if like is None and asked.backbone not in PRESETS:
            raise BadInput(f"no model '{shown(asked.backbone[:60])}' among those on the page")
        self.discovery.start(asked, like)
        self.studio.forget()
        return self._progress()

    @checked
    def progress(self) -> Answer:
        return self._progress()

    @checked
    def pause(self) -> Answer:
        self.discovery.pause()
        return self._progress()

    @checked
    def go_on(self) -> Answer:
        self.discovery.go_on()
        self.studio.forget()
        return self._progress()

    @checked
    def stop(self) -> Answer:
        self.discovery.stop()
        return self._progress()

    def _settings(self) -> dict[Path, Settings | None]:
        return {folder: _settings_in(RunFolder(folder)) for folder in self._folders}

    def _progress(self) -> Answer:
        """`run` is the number of the folder, once it is finished."""
        state = self.discovery.state()
        answer = state.model_dump(mode="json", exclude={"folder"})
        return {**answer, "run": self._added(Path(state.folder))} if state.finished else answer

    def _added(self, folder: Path) -> int:
        with self._adding:
            if folder not in self._folders:
                self._folders.append(folder)
            return self._folders.index(folder)

    def _check_same(self, number: object, of: object) -> None:
        """A page names sliders by number, and those of a folder that was trained anew are others."""
        files = self._run(number).whole_space() if isinstance(number, int) else None
        if files and SpaceFile.read(files["space"]).made_from.sliders != of:
            raise BadInput("these sliders were made anew meanwhile: load the page again")

    def _run(self, number: int) -> RunFolder:
        if not 0 <= number < len(self._folders):
            raise BadInput("there is no such run here: load the page again")
        return RunFolder(self._folders[number])


def _runs_at(folder: Path) -> list[Path]:
    """A run folder itself, and of a folder of runs the finished ones."""
    inside: list[Path] = []
    if not RunFolder(folder).is_ours():
        with suppress(BadInput):
            inside = runs_in(folder)
    finished = [run for run in inside if _settings_in(RunFolder(run))]
    if not finished:
        page_of(RunFolder(inside[0] if inside else folder))
    return finished or [folder]


def _settings_in(run: RunFolder) -> Settings | None:
    """None where the space was removed or damaged since the app began."""
    try:
        return SpaceFile.read(run.space).settings
    except SliderSpaceError:
        return None


def in_words(error: ValidationError) -> str:
    """The first of what is wrong with a request."""
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"]))
    return shown(f"{place[:60]}: {first['msg'][:200]}")
