"""The verb that opens the web app."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from sliderspace.cli.app import verb
from sliderspace.cli.common import guarded, speed_of
from sliderspace.cli.options import DRAWING


@verb(*DRAWING, epilog="Example: sliderspace explore runs/monster")
def explore(
    folders: Annotated[
        list[Path], Argument(metavar="DIR...", help="The folders of finished runs, or a folder that holds them.")
    ],
    port: Annotated[
        int | None,
        Option(
            min=1, max=65535, help="Where the page is; left out: the first free one from 7860 on.", show_default=False
        ),
    ] = None,
    host: Annotated[
        str, Option(help="The address to serve on. Any but this machine's own needs a --password.")
    ] = "127.0.0.1",
    password: Annotated[
        str | None,
        Option(
            envvar="SLIDERSPACE_PASSWORD", help="Asked for before the page, with any user name.", show_default=False
        ),
    ] = None,
    **speed: Any,
) -> None:
    """Play with sliders in the browser: stored pictures follow at once, the model draws when a slider is let go. Needs
    the extra `explore`."""

    def body() -> None:
        import signal
        from threading import Event

        from sliderspace.explore.app import served
        from sliderspace.explore.session import Session

        signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that a discovery of the page ends with it
        with served(Session(folders, speed_of(**speed)), host=host, port=port, password=password) as address:
            typer.echo(f"open {address}\nstop with Ctrl+C")
            Event().wait()

    guarded(body)
