"""The whole discovery as one call."""

import sys
from pathlib import Path
from typing import Any

from sliderspace.core.settings import Speed, settings_from
from sliderspace.core.text import folder_name
from sliderspace.engine.bars import watch
from sliderspace.engine.begin import begin
from sliderspace.engine.local import discover as stages
from sliderspace.models.here import with_whole_places
from sliderspace.models.working_point import check_settings
from sliderspace.plan.fit import fit_to_card
from sliderspace.report.from_run import report_run
from sliderspace.space.space import SliderSpace
from sliderspace.storage.run_folder import RunFolder


def discover(
    prompt: str | list[str],
    out: str | Path | None = None,
    *,
    speed: Speed | None = None,
    quiet: bool = False,
    replace: bool = False,
    **settings: Any,
) -> SliderSpace:
    """Find the sliders of a prompt (several prompts describe one concept), and write everything to the run folder
    `out`: left out, one in `runs` that is named after the prompt.

    `settings` are the fields of `Settings`: backbone, sliders, samples, seed, updates, … A local folder or file among
    them may be a Path, and is stored by its full path. Called again with the same ones it resumes, or returns at once
    what is there. The space of another prompt in `out` is replaced only with `replace`. Raises BadInput for what cannot
    be used, SliderSpaceError for what failed; both say what to do.
    """
    prompts = (prompt,) if isinstance(prompt, str) else tuple(prompt)
    chosen = settings_from({"prompts": prompts, **with_whole_places(settings)}).check_carried()
    check_settings(chosen)  # before a folder is made
    place = Path("runs") / folder_name(chosen.prompts) if out is None else Path(out)
    if out is None and not quiet:
        print(f"folder: {place}", file=sys.stderr)
    run = RunFolder(place)
    with run.open_for_writing():
        models, _ = begin(chosen, fit_to_card(chosen, speed or Speed()), run, replace=replace)
        watch(stages(models), quiet=quiet)
        report_run(run)
    return SliderSpace.load(place, speed)
