"""The options of every verb: the ones promised, with their defaults, each named once and explained."""

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from sliderspace import __version__
from sliderspace.cli import app, options
from sliderspace.cli.app import GROUPS
from sliderspace.core.settings import Settings, Speed

COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
VERBS = sorted(COMMANDS)

# The options of every verb with what holds where they are left out. They are a promise to users' scripts: add to them,
# take nothing away without a release note.
SAMPLED = {
    "--backbone": "mini-turbo",
    "--encoder": "",
    "--steps": None,
    "--guidance": None,
    "--precision": "auto",
    "--resolution": None,
    "--decoder": "auto",
    "--quantize": "none",
    "--lora": "",
    "--seed": 0,
    "--images": "",
    "--samples": 1000,
    "--embed": "all",
}
FITTED = {"--sliders": 16, "--centring": "step", "--rotation": "independent", "--control": "none"}
TRAINED = {
    "--rank": 1,
    "--targets": "linear",
    "--up": "trained",
    "--objective": "sized",
    "--both-signs/--one-sign": True,
    "--until": 1.0,
    "--hold": 0.05,
    "--updates": 200,
    "--lr": 5e-3,
}
DRAWING = {"--device": "auto", "--batch": 64}
MEASURING = {**DRAWING, "--lanes": 16, "--checkpointing": False}
UPDATING = {**MEASURING, "--compile": False}
ENGINE = {"--engine": "local", "--workers": None, "--gpus": 1.0}
CONCEPT = {"prompts": None, "--prompts": None, "--expand": None, "--expand-to": 50, "--base-url": None, "--out": None}
PICTURE = {
    "--seeds": "0-15",
    "--prompt": None,
    "--backbone": None,
    "--start-step": 0,
    "--end-step": None,
    "--out": None,
    "--json": False,
    **DRAWING,
}
PROMISED: dict[str, dict[str, Any]] = {
    "discover": {
        **CONCEPT,
        "--concepts": None,
        "--shard": None,
        **SAMPLED,
        **FITTED,
        **TRAINED,
        **UPDATING,
        **ENGINE,
        "--recipe": None,
        "--replace": False,
        "--dry-run": False,
        "--memory": None,
        "--json": False,
    },
    "concept": {
        "words": None,
        "--prompt": None,
        "--pairs": None,
        "--out": None,
        "--recipe": None,
        "--replace": False,
        "--dry-run": False,
        "--memory": None,
        "--json": False,
        **SAMPLED,
        **{option: value for option, value in TRAINED.items() if option not in ("--objective", "--hold")},
        "--eta": 1.0,
        **UPDATING,
    },
    "sample": {**CONCEPT, **SAMPLED, **DRAWING, **ENGINE, "--replace": False, "--shard": None, "--json": False},
    "fit": {"folder": None, **FITTED, "--device": "auto", "--replace": False, "--json": False},
    "train": {"folder": None, **TRAINED, **UPDATING, **ENGINE, "--replace": False, "--shard": None, "--json": False},
    "measure": {"folder": None, **MEASURING, **ENGINE, "--replace": False, "--shard": None, "--json": False},
    "generate": {"folder": None, "--set": None, "--mix": 0, **PICTURE},
    "sweep": {"folder": None, "slider": None, "--scales": "-3,-2,-1,0,1,2,3", **PICTURE, "--seeds": "0-3"},
    "evaluate": {"folder": None, "--seeds": 32, "--judge": None, "--json": False, **DRAWING},
    "study": {
        "questions": None,
        "--out": Path("runs/study"),
        "--seeds": "0",
        "--backbone": "mini-turbo",
        "--write": None,
        "--json": False,
        **DRAWING,
        "--lanes": 16,
    },
    "experiment": {
        "name": None,
        "--backbone": None,
        "--teacher": None,
        "--out": Path("runs/paper"),
        "--seeds": 3,
        "--pictures": None,
        "--sliders": None,
        "--artists": None,
        "--prompts": None,
        "--captions": None,
        "--reference": None,
        "--judge": None,
        "--dry-run": False,
        "--shard": None,
        "--json": False,
        **dict.fromkeys(("--encoder", "--steps", "--guidance", "--precision", "--resolution")),
        **dict.fromkeys(("--decoder", "--quantize", "--lora", "--samples", "--updates")),
        **UPDATING,
    },
    "info": {"folder": None, "--json": False},
    "label": {
        "folder": None,
        "--by": None,
        "--base-url": None,
        "--words": None,
        "--name": None,
        "--again": False,
        "--json": False,
        "--device": "auto",
        "--batch": 64,
    },
    "report": {"folder": None, "--json": False},
    "gallery": {"folder": Path("runs"), "--json": False},
    "explore": {"folders": None, "--port": None, "--host": "127.0.0.1", "--password": None, **DRAWING},
    "backbones": {"--json": False},
    "export": {
        "folder": None,
        "--sliders": None,
        "--set": None,
        "--name": "",
        "--unit": 1.0,
        "--out": None,
        "--json": False,
    },
    "import": {
        "source": None,
        "--out": None,
        "--backbone": None,
        "--lora": None,
        "--prompt": None,
        "--json": False,
    },
    "push": {
        "folder": None,
        "repository": None,
        "--private": False,
        "--licence": "",
        "--base-model": "",
        "--json": False,
    },
    "pull": {
        "repository": None,
        "--out": None,
        "--backbone": None,
        "--lora": None,
        "--revision": None,
        "--json": False,
    },
}


def parameters(verb: str) -> list[Any]:
    return getattr(COMMANDS[verb], "whole", COMMANDS[verb]).params


def default(verb: str, parameter: Any) -> object:
    """What holds where an option is left out: a setting's is None to the verb, and the model's own for a new run."""
    fields = Speed.model_fields | (
        Settings.model_fields if verb in GROUPS["Stage by stage"] + ("discover", "concept") else {}
    )
    generated = parameter.param_type_name == "option" and parameter.name in fields
    assert not generated or parameter.default is None, "a setting that is left out is as the run has it"
    return fields[parameter.name].default if generated else parameter.default


def said(*arguments: str) -> str:
    """What a call prints, its lines joined and its frames taken away."""
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, list(arguments))
    return " ".join(result.output.replace("│", " ").split())


def test_the_options_are_those_promised() -> None:
    found = {
        verb: {"/".join((*p.opts, *p.secondary_opts)): default(verb, p) for p in parameters(verb)} for verb in VERBS
    }
    assert found == PROMISED


def test_every_setting_is_an_option_of_the_stage_that_needs_it() -> None:
    settings = (*options.SAMPLED, *options.FITTED, *options.TRAINED, *options.WORDS)
    assert sorted(settings) == sorted(set(Settings.model_fields) - {"prompts", "pairs"})
    assert sorted(options.UPDATING) == sorted(Speed.model_fields)
    assert not {*settings, *options.UPDATING} & set(options.OWN), "declared once"


@pytest.mark.parametrize("name", [*Settings.model_fields, *Speed.model_fields])
def test_every_field_is_explained_and_has_an_end(name: str) -> None:
    field = {**Settings.model_fields, **Speed.model_fields}[name]
    assert (field.description or "").endswith((".", "…"))
    if field.annotation in (int, float, int | None, float | None):
        assert {"le"} <= {side for m in field.metadata for side in dir(m)}, "a number without an upper bound"


def test_help_says_range_and_default() -> None:
    text = said("discover", "--help")
    assert "Rank of each slider. (default 1; 1 … 1,024)" in text
    assert "(default 1.0; above 0 … 1)" in text and "(default --both-signs)" in text
    assert "cross-kv|cross|attention|linear" in text
    assert "default 200" not in said("train", "--help"), "there it is as the folder has it"
    asked = said("concept", "--help")
    assert "Rank of each slider. (default 4;" in asked and "default 200" in asked and "default 100;" in asked
    assert "sweep-NN.png" in said("sweep", "--help")


# ---- the list of verbs


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_the_verbs_are_listed_in_the_order_people_need_them(arguments: list[str]) -> None:
    text = CliRunner(env={"COLUMNS": "200"}).invoke(app, arguments).output
    first_words = [line.strip("│ ").split()[0] for line in text.splitlines() if line.startswith("│")]
    listed = [word for word in first_words if word in VERBS]
    assert listed == [verb for verbs in GROUPS.values() for verb in verbs] and listed[0] == "discover"
    assert sorted(listed) == VERBS
    places = [text.index(f"─ {group} ─") for group in GROUPS]
    assert places == sorted(places)


def test_version_and_short_help() -> None:
    assert said("--version") == f"sliderspace {__version__}"
    for verb in VERBS:
        assert said(verb, "-h") == said(verb, "--help")


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(verb: str) -> None:
    assert f"Example: sliderspace {verb}" in said(verb, "--help")


@pytest.mark.parametrize("verb", VERBS)
def test_every_example_is_a_command_that_parses(verb: str) -> None:
    words = shlex.split(COMMANDS[verb].epilog.removeprefix("Example: "))
    assert words[:2] == ["sliderspace", verb]
    COMMANDS[verb].make_context(verb, words[2:])


def test_the_list_of_verbs_waits_for_no_pydantic() -> None:
    script = "import sys\nfrom sliderspace.cli import app\ntry:\n app(['--help'])\nexcept SystemExit:\n print('pydantic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], text=True, capture_output=True, env={**os.environ})
    assert done.stdout.splitlines()[-1] == "False", done.stderr
