"""What comes into a run folder from elsewhere: it replaces no other space, and nothing that a person made there."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from sliderspace.core.errors import BadInput, DamagedFile
from sliderspace.measure.results import SpaceFile
from sliderspace.storage.files import exists, is_done, stored_fingerprint
from sliderspace.storage.run_folder import RunFolder

CHECKED = {"config.json", "space.json"}  # they say whose sliders they are


class MadeFrom(NamedTuple):
    """The fingerprints of the settings and of the finished sliders of a run folder; None where it has none."""

    settings: str | None
    sliders: str | None


def made_from(run: RunFolder) -> MadeFrom:
    """DamagedFile where config.json or space.json is broken."""
    sliders = SpaceFile.read(run.space).made_from.sliders if exists(run.space) else None
    return MadeFrom(stored_fingerprint(run.config), sliders)


def incoming(place: str, fetch: Callable[[Path], object]) -> MadeFrom:
    """The same of the run at `place`, of which `fetch` puts the `CHECKED` files into a folder."""
    with TemporaryDirectory(prefix="sliderspace-") as folder:
        fetch(Path(folder))
        try:
            return made_from(RunFolder(folder))
        except DamagedFile as error:
            raise DamagedFile(str(error).replace(folder, place)) from error


def kept(run: RunFolder, theirs: MadeFrom) -> set[str]:
    """The names of the files in `run` that are a person's own and stay when a run made from `theirs` comes into it.

    Raises BadInput where `run` holds other settings or sliders than those.
    """
    ours = made_from(run)
    if any(None not in pair and len(set(pair)) > 1 for pair in zip(ours, theirs, strict=True)):
        raise BadInput(
            f"{run.root} already holds another space.\nChoose a new or empty folder with --out; nothing was changed."
        )
    sliders = theirs.sliders or ours.sliders or ""
    return {path.name for path in (run.labels, run.explore) if is_done(path, sliders)}
