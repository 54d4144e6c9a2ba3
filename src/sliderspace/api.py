"""The whole discovery as one call."""

from pathlib import Path
from typing import Any

from sliderspace.core.settings import Speed, settings_from
from sliderspace.engine.bars import watch
from sliderspace.engine.local import Engine
from sliderspace.plan.fit import fit_to_card
from sliderspace.report.from_run import report_run
from sliderspace.space.space import SliderSpace
from sliderspace.storage.run_folder import RunFolder


def discover(
    prompt: str | list[str], out: str | Path, *, speed: Speed | None = None, quiet: bool = False, **settings: Any
) -> SliderSpace:
    """Find the sliders of a prompt (several prompts describe one concept), and write everything to the run folder
    `out`.

    `settings` are the fields of `Settings`: backbone, sliders, samples, seed, updates, … Called again with the same
    ones it resumes, or returns at once what is there. Raises BadInput for what cannot be used, SliderSpaceError for
    what failed; both say what to do.
    """
    run, chosen = (
        RunFolder(out),
        settings_from({"prompts": (prompt,) if isinstance(prompt, str) else tuple(prompt), **settings}),
    )
    with run.open_for_writing():
        engine = Engine(chosen, fit_to_card(chosen, speed or Speed()), run)
        engine.write_config()
        watch(engine.stages(), quiet=quiet)
        report_run(run)
    return SliderSpace.load(out, speed)
