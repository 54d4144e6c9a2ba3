"""The application the verbs register with: their order and groups, and options that come from `Settings`."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, wraps
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from sliderspace import __version__

GROUPS = {  # in the order people need them
    "Discover": ("discover", "concept", "label", "info", "report", "gallery", "backbones"),
    "Draw": ("explore", "generate", "sweep"),
    "Carry elsewhere": ("export", "import", "push", "pull"),
    "Measure": ("evaluate", "study", "experiment"),
    "Stage by stage": ("sample", "fit", "train", "measure"),
}
GROUP_OF = {verb: group for group, verbs in GROUPS.items() for verb in verbs}
EXAMPLE = 'sliderspace discover "a monster" --backbone mini-turbo --out runs/monster'


class Ordered(TyperGroup):
    """The verbs by group."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(self.commands, key=list(GROUP_OF).index)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        command = super().get_command(ctx, cmd_name)
        if isinstance(command, TyperCommand):
            command.rich_help_panel = GROUP_OF[cmd_name]
        return command


@dataclass(frozen=True)
class Declared:
    """A function that does a verb's work, and the names of the options it takes as keywords."""

    function: Callable[..., None]
    options: tuple[str, ...]
    epilog: str
    usual: Callable[[], Mapping[str, Any]]  # values of options that the verb has in place of the settings' own


DECLARED: dict[str, Declared] = {}
LOOK: dict[str, Any] = {"add_completion": False, "rich_markup_mode": "markdown"}

app = typer.Typer(
    **LOOK,
    cls=Ordered,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Find what a text-to-image model can vary about a prompt, and turn each direction into a slider.\n\n"
    f"Example: `{EXAMPLE}`",
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"sliderspace {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options of the program itself."""


class Verb(TyperCommand):
    """A verb whose options are made when it is called: pydantic, which knows them, takes longer to import than
    `sliderspace --help` may take."""

    @cached_property
    def whole(self) -> Any:
        """The command with its options."""
        declared = DECLARED[str(self.name)]
        alone = typer.Typer(**LOOK)
        alone.command(self.name, epilog=declared.epilog)(_with_options(declared))
        return typer.main.get_command(alone)

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        return self.whole.make_context(info_name, args, parent, **extra)


def _with_options(declared: Declared) -> Callable[..., None]:
    """The function with a signature that says its options, for typer to read."""
    from sliderspace.cli.options import parameter

    @wraps(declared.function)
    def called(**values: Any) -> None:
        declared.function(**values)

    written = inspect.signature(declared.function, eval_str=True).parameters.values()
    own = [p.replace(kind=p.KEYWORD_ONLY) for p in written if p.kind is not p.VAR_KEYWORD]
    usual, stored = declared.usual(), "folder" in declared.options
    added = [parameter(name, stored=stored, usual=usual) for name in declared.options]
    called.__signature__ = inspect.Signature([*own, *added])  # type: ignore[attr-defined]
    called.__annotations__ = {}
    return called


def verb(
    *options: str, epilog: str, usual: Callable[[], Mapping[str, Any]] = dict
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function as a verb that takes the named `options` besides those it declares itself; `usual` gives
    the defaults that are the verb's own."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        name = function.__name__
        DECLARED[name] = Declared(function, options, epilog, usual)
        app.command(name, cls=Verb, epilog=epilog, help=function.__doc__)(lambda: None)
        return function

    return register
