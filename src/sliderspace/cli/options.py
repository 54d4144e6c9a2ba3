"""What the verbs can be asked: those fields of `Settings` and `Speed` that a verb takes, and the few options that are
no setting."""

import types
from collections.abc import Mapping
from inspect import Parameter
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

from typer import Argument, Option

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

Folder = Annotated[Path, Argument(metavar="DIR", help="The folder of a run.")]
Json = Annotated[bool, Option("--json", help="Print the answer as JSON for a program.")]
Seeds = Annotated[str, Option(help="Seeds: 0-15, or 3,17,40-43.")]
StartStep = Annotated[int, Option(help="Let sliders act from this sampler step on; later keeps more of the structure.")]
EndStep = Annotated[
    int | None, Option(help="Let sliders act before this sampler step only; left out: to the end.", show_default=False)
]
OtherModel = Annotated[
    str | None,
    Option(
        "--backbone",
        help="Another model of the same family to draw with, such as krea2-turbo for sliders of krea2; left out: their "
        "own.",
        show_default=False,
    ),
]
Replace = Annotated[
    bool, Option("--replace", help="Replace what the folder holds of another prompt, or what was imported into it.")
]

# The fields of `Settings` and `Speed` by the stage that first needs them.
SAMPLED = (
    *("backbone", "encoder", "steps", "guidance", "precision", "resolution", "decoder", "quantize", "lora"),
    *("seed", "images", "samples", "embed"),
)
FITTED = ("sliders", "centring", "rotation", "control")
TRAINED = ("rank", "targets", "up", "objective", "both_signs", "until", "hold", "updates", "lr")
DRAWING = ("device", "batch")
UPDATING = (*DRAWING, "lanes", "checkpointing", "compile")
WORDS = ("eta",)  # of sliders asked for in words
PANELS = {"Model and sampling": SAMPLED, "Directions": FITTED, "Training": (*TRAINED, *WORDS), "This machine": UPDATING}
ENGINE = ("engine", "workers", "gpus")
SPELLED = {"both_signs": "--both-signs/--one-sign", "checkpointing": "--checkpointing", "compile": "--compile"}

PROMPTS = "Prompts"
WORKERS = "Workers"
OWN: dict[str, tuple[Any, object]] = {  # what is no setting: its annotation and its default
    "prompts": (
        Annotated[
            list[str] | None,
            Argument(
                metavar="PROMPT...", help="What to explore; several prompts describe one concept.", show_default=False
            ),
        ],
        None,
    ),
    "folder": (Folder, Parameter.empty),
    "out": (
        Annotated[
            Path | None,
            Option(
                help="The run folder; left out: runs/ and the prompt. The same command again goes on where it stopped."
            ),
        ],
        None,
    ),
    "file": (
        Annotated[
            Path | None,
            Option(
                "--prompts",
                metavar="FILE",
                help="Prompts from a file: a line each, or a column of .csv or .jsonl.",
                rich_help_panel=PROMPTS,
            ),
        ],
        None,
    ),
    "expand": (
        Annotated[
            str | None,
            Option(
                help="Make many prompts of one: templates, anthropic:MODEL or openai:MODEL.", rich_help_panel=PROMPTS
            ),
        ],
        None,
    ),
    "expand_to": (
        Annotated[int, Option(min=1, max=10_000, help="How many prompts an expansion makes.", rich_help_panel=PROMPTS)],
        50,
    ),
    "base_url": (
        Annotated[
            str | None,
            Option(
                help="The server of an OpenAI-compatible model, such as http://localhost:11434/v1.",
                rich_help_panel=PROMPTS,
            ),
        ],
        None,
    ),
    "concepts": (
        Annotated[
            Path | None,
            Option(
                metavar="FILE",
                help="Many concepts: one a line, its prompts with | between them, or a column of .csv or .jsonl; each "
                "gets its own folder in --out.",
                rich_help_panel=PROMPTS,
            ),
        ],
        None,
    ),
    "recipe": (
        Annotated[
            str | None,
            Option(
                help="paper: the published method in every setting; default: ours. Options given beside it are "
                "stronger.",
                show_default=False,
            ),
        ],
        None,
    ),
    "replace": (Replace, False),
    "shard": (
        Annotated[
            str | None,
            Option(
                metavar="I/N",
                help="Do only this part of the work, 0/4 being the first of four: one process for each may share the "
                "folder.",
            ),
        ],
        None,
    ),
    "engine": (
        Annotated[
            str,
            Option(
                metavar="local|ray|ray://HOST:PORT",
                help="Who does the work: this process, or workers: of a Ray cluster that is started on this machine "
                "(or that RAY_ADDRESS names), or of the one at an address.",
                rich_help_panel=WORKERS,
            ),
        ],
        "local",
    ),
    "workers": (
        Annotated[
            int | None,
            Option(
                min=1,
                max=10_000,
                help="For --engine ray: how many workers; left out: as many as the cluster has room for.",
                rich_help_panel=WORKERS,
                show_default=False,
            ),
        ],
        None,
    ),
    "gpus": (
        Annotated[
            float,
            Option(
                min=0.01,
                max=1,
                help="For --engine ray on GPUs: the part of one that a worker takes; at 0.5 two share it.",
                rich_help_panel=WORKERS,
            ),
        ],
        1.0,
    ),
    "dry_run": (
        Annotated[
            bool,
            Option("--dry-run", help="Only say what would be done: layers, memory, disk and time. Fetches nothing."),
        ],
        False,
    ),
    "memory": (
        Annotated[
            float | None,
            Option(
                min=1, max=10_000, help="For --dry-run: plan for a card of so many GB; left out: the one here, or 24."
            ),
        ],
        None,
    ),
    "as_json": (Json, False),
}
ABOUT = ("prompts", "out", "file", "expand", "expand_to", "base_url")


def spelling(name: str) -> str:
    """The name of a field -> the option as it is typed."""
    return SPELLED.get(name, f"--{name.replace('_', '-')}").partition("/")[0]


def parameter(name: str, *, stored: bool = False, usual: Mapping[str, object] = MappingProxyType({})) -> Parameter:
    """An option by name, as a parameter of a function that typer reads. `stored`: left out, it is as the run has it;
    else it is as in `usual`, or the field's own default."""
    annotation, default = OWN[name] if name in OWN else (_option(name, _fields()[name], stored, usual), None)
    return Parameter(name, Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def _fields() -> "dict[str, FieldInfo]":
    from sliderspace.core.settings import Settings, Speed

    return {**Settings.model_fields, **Speed.model_fields}


def _option(name: str, field: "FieldInfo", stored: bool, usual: Mapping[str, object]) -> Any:
    """A field as an option that is None unless it is typed: what a run stores shall hold. Its range is checked by the
    model."""
    kind, choices = _kind(field.annotation)
    default = usual.get(name, field.default)
    about = [] if default in (None, "") or (stored and name not in UPDATING) else [_default(name, default)]
    about += _limits(field)
    option = Option(
        SPELLED.get(name, spelling(name)),
        help=" ".join((field.description or "", f"({'; '.join(about)})" if about else "")),
        metavar="|".join(choices) or None,
        rich_help_panel=next(panel for panel, names in PANELS.items() if name in names),
    )
    return Annotated[kind | None, option]


def _kind(annotation: Any) -> tuple[type, tuple[str, ...]]:
    """The type of what is typed for a field, and the words to choose from; else it is text that the model reads."""
    if get_origin(annotation) is Literal:
        return str, get_args(annotation)
    kinds = [a for a in get_args(annotation) if a is not types.NoneType] or [annotation]
    return (kinds[0] if len(kinds) == 1 and kinds[0] in (int, float, bool) else str), ()


def _default(name: str, value: object) -> str:
    words = SPELLED.get(name, "").split("/")
    return f"default {value}" if not isinstance(value, bool) else f"default {words[0] if value else 'off'}"


def _limits(field: "FieldInfo") -> list[str]:
    """["1 … 1,000"] for a number."""
    found = {side: getattr(m, side) for m in field.metadata for side in ("ge", "gt", "le") if hasattr(m, side)}
    if "le" not in found or found["le"] > 10**9:
        return []
    low = f"above {found['gt']:g}" if "gt" in found else f"{found['ge']:,}"
    return [f"{low} … {found['le']:,}"]
