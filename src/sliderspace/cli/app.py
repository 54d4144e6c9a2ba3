"""The application the verbs register with."""

import typer

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Find what a text-to-image model can vary about a prompt, and turn each direction into a slider.\n\n"
    'Example: `sliderspace discover "a portrait of a person" --backbone mini --out runs/person`',
)
