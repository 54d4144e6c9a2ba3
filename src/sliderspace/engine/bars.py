"""Progress bars for a stream of `Progress` records: one bar a stage, with the time left and a word on how it goes."""

from collections.abc import Iterable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from sliderspace.engine.progress import Progress


def watch(records: Iterable[Progress], *, quiet: bool = False) -> None:
    """Consume the records, drawing on stderr (so that stdout stays the answer); `quiet` draws nothing."""
    columns = (
        TextColumn("{task.description:<8}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Bars(*columns, console=Console(stderr=True), disable=quiet) as bars:
        tasks: dict[str, TaskID] = {}
        for record in records:
            if record.stage not in tasks:
                tasks[record.stage] = bars.add_task(record.stage, total=record.total, note="")
            bars.update(tasks[record.stage], completed=record.done, note=record.note)
