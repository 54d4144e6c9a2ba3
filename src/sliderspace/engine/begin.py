"""What a run is to become: the settings of a folder, tried before anything of it is changed."""

from typing import Any

from sliderspace.core.errors import BadInput
from sliderspace.core.settings import Settings, Speed, settings_from
from sliderspace.core.text import shown
from sliderspace.engine.models import Loaded, Models
from sliderspace.measure.results import SpaceFile
from sliderspace.storage.files import exists, load_json, save_json
from sliderspace.storage.run_folder import RunFolder


def stored_settings(run: RunFolder, **changed: Any) -> Settings:
    """The settings of a run folder with some replaced (None: as stored).

    Raises BadInput when there are none, or a change is unusable.
    """
    run.check_exists()
    return settings_from(
        {**load_json(run.config, kind="config"), **{k: v for k, v in changed.items() if v is not None}}
    )


def space_settings(run: RunFolder) -> Settings:
    """Those of the finished space in a folder, whatever it is to become. Raises BadInput when there is none."""
    if (files := run.whole_space()) is None:
        raise BadInput(
            f"{run.root} holds no finished space yet.\nRun `sliderspace discover --out {run.typed}` to go on."
        )
    return SpaceFile.read(files["space"]).settings


def discovered_settings(run: RunFolder) -> Settings:
    """The same of a space that was discovered in its folder. Raises BadInput for an imported one: what it was found in
    is not there."""
    settings = space_settings(run)
    if SpaceFile.read(run.space).imported:
        raise BadInput(
            f"{run.root} holds imported sliders, without the trajectories that would say what to measure them by.\n"
            "Evaluate them in the folder that they were discovered in."
        )
    return settings


def models_for(settings: Settings, speed: Speed, run: RunFolder, loaded: Loaded | None = None) -> Models:
    """What the stages of a run need. Which precision `auto` stands for differs from machine to machine; a run keeps the
    one it began with."""
    before = load_json(run.config, kind="config") if exists(run.config) else {}
    kept = {"precision": before["precision"]} if settings.precision == "auto" and "precision" in before else {}
    models = Models(settings.model_copy(update=kept), speed, run, loaded)
    settled = settings.model_copy(update={"precision": models.point.precision})
    return Models(settled, speed, run, models.loaded)


def begin(
    settings: Settings, speed: Speed, run: RunFolder, *, replace: bool = False, loaded: Loaded | None = None
) -> tuple[Models, list[str]]:
    """Store what a run is to become; returns what its stages need, and what differs from before, as lines to show.

    Model, encoder, prompts and all settings are tried first, so that a typing error never replaces good settings.
    Raises BadInput too where a finished space of other prompts, or one that cannot be made again from its folder, would
    be replaced unasked.
    """
    before = load_json(run.config, kind="config") if exists(run.config) else {}
    models = models_for(settings, speed, run, loaded)
    if not replace:
        _check_replaced(models.settings, run)
    _ = models.prints, models.condition
    now = models.settings.model_dump(mode="json")
    save_json(run.config, now, kind="config", fingerprint=models.prints.trained)
    return models, [f"{key}: {before[key]} → {now[key]}" for key in now if key in before and before[key] != now[key]]


def _check_replaced(settings: Settings, run: RunFolder) -> None:
    """BadInput where a space lies that these settings would replace by something else than itself."""
    if not exists(run.space):
        return
    space = SpaceFile.read(run.space)
    if space.imported:
        raise BadInput(
            f"{run.root} holds imported sliders, which cannot be made again from it.\n"
            "Choose another folder with --out, or say --replace."
        )
    if space.settings.prompts != settings.prompts:
        raise BadInput(
            f"{run.root} holds the sliders of another prompt ({shown(', '.join(space.settings.prompts[:3]))}).\n"
            "Choose another folder with --out, or say --replace."
        )
