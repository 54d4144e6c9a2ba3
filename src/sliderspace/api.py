"""The whole discovery as one call."""

from pathlib import Path
from typing import Any

from sliderspace.core.settings import Speed, settings_from
from sliderspace.engine.bars import watch
from sliderspace.engine.begin import begin
from sliderspace.engine.local import discover as stages
from sliderspace.report.from_run import report_run
from sliderspace.space.space import SliderSpace
from sliderspace.storage.run_folder import RunFolder


def discover(
    prompt: str | list[str],
    out: str | Path,
    *,
    speed: Speed | None = None,
    quiet: bool = False,
    replace: bool = False,
    **settings: Any,
) -> SliderSpace:
    """Find the sliders of a prompt (several prompts describe one concept), and write everything to the run folder
    `out`.

    `settings` are the fields of `Settings`: backbone, sliders, samples, seed, updates, … Called again with the same
    ones it resumes, or returns at once what is there. The space of another prompt in `out` is replaced only with
    `replace`. Raises BadInput for what cannot be used, SliderSpaceError for what failed; both say what to do.
    """
    run = RunFolder(out)
    prompts = (prompt,) if isinstance(prompt, str) else tuple(prompt)
    chosen = settings_from({"prompts": prompts, **settings})
    with run.open_for_writing():
        models, _ = begin(chosen, speed or Speed(), run, replace=replace)
        watch(stages(models), quiet=quiet)
        report_run(run)
    return SliderSpace.load(out, speed)
