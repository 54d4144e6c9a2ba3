"""What README and the documents say can be typed, can be typed: Python runs, commands parse, links lead somewhere."""

import ast
import re
import runpy
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from sliderspace.cli import app

ROOT = Path(__file__).parents[2]
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
SHELLS = {"bash", "sh", "shell", "console"}
DOCUMENTS = ("README.md", "docs/index.md", "docs/tutorial.md", "docs/measures.md", "docs/recipes.md")


def blocks(text: str) -> list[tuple[str, str]]:
    """(language, contents) of every fenced block."""
    return re.findall(r"^```(\w*)[^\n]*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def commands(text: str) -> Iterator[list[str]]:
    """The words of every command in shell blocks, without prompts, comments, and what follows a pipe or redirection."""
    for language, body in blocks(text):
        if language not in SHELLS:
            continue
        for line in body.replace("\\\n", " ").splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
            if words:
                end = next((i for i, word in enumerate(words) if word in {"|", ">", "&&", ";"}), len(words))
                yield words[:end]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def readme() -> str:
    return read("README.md")


def test_the_readme_is_read_in_minutes(readme: str) -> None:
    words = re.sub(r"^```.*?^```", "", readme, flags=re.MULTILINE | re.DOTALL).split()
    assert 600 <= len(words) <= 800


# ---- Python


class Smaller(ast.NodeTransformer):
    """Makes every `discover(...)` of a snippet as small as its other lines allow: they may name sliders."""

    def __init__(self, snippet: ast.AST) -> None:
        nodes = list(ast.walk(snippet))
        named = [key for node in nodes if isinstance(node, ast.Dict) for key in node.keys]
        named += [
            a
            for node in nodes
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".sweep")
            for a in node.args[:1]
        ]
        self.sliders = 1 + max(
            (n.value for n in named if isinstance(n, ast.Constant) and isinstance(n.value, int)), default=1
        )

    def visit_Call(self, node: ast.Call) -> ast.Call:
        self.generic_visit(node)
        if ast.unparse(node.func).split(".")[-1] == "discover":
            small = {"samples": max(24, self.sliders + 8), "updates": 2, "sliders": max(2, self.sliders), "steps": 3}
            kept = [k for k in node.keywords if k.arg not in small]
            node.keywords = [*kept, *(ast.keyword(name, ast.Constant(value)) for name, value in small.items())]
        return node


def made_smaller(snippet: str) -> str:
    tree = ast.parse(snippet)
    return ast.unparse(ast.fix_missing_locations(Smaller(tree).visit(tree)))


def test_the_snippet_is_made_smaller_and_nothing_else() -> None:
    rest = ["space.sweep(4)", "space.generate([1], {6: 1.5})"]
    snippet = "\n".join(
        ["from sliderspace import discover", "space = discover('a robot', out='r', samples=1000, seed=3)", *rest]
    )
    expected = "space = discover('a robot', out='r', seed=3, samples=24, updates=2, sliders=7, steps=3)"
    assert made_smaller(snippet).splitlines()[1] == expected
    assert made_smaller(snippet).splitlines()[2:] == rest


def test_the_python_runs(readme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, least_measured: None) -> None:
    """All in one script: the tutorial's discovery is the README's, which goes on where it stopped."""
    [first] = (body for language, body in blocks(readme) if language == "python")
    core, elsewhere = (body for language, body in blocks(read("docs/tutorial.md")) if language == "python")
    assert len([line for line in first.splitlines() if line.strip()]) <= 7, "six lines"
    assert "discover" in first and "discover" in core
    assert not [name for name in DOCUMENTS[3:] for language, _ in blocks(read(name)) if language == "python"]
    script = tmp_path / "snippet.py"
    assert "src/sliderspace/assets" in elsewhere, "run here from another folder"
    there = elsewhere.replace("src/sliderspace", str(ROOT / "src" / "sliderspace"))
    script.write_text(
        f"{made_smaller(first)}\n{made_smaller(core)}\n{there}\nassert image.size == (128, 128)\n", encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(script), run_name="__main__")
    assert len(list(tmp_path.rglob("report.html"))) == 1


# ---- commands


def test_its_first_two_commands_are_the_demo_and_the_tests(readme: str) -> None:
    made = [words for words in commands(readme) if words[0] == "make"]
    assert made[:2] == [["make", "demo"], ["make", "test"]]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_command_is_one_that_is_tested(name: str) -> None:
    programs = {words[0] for words in commands(read(name))}
    assert programs <= {"make", "sliderspace", "pip"}
    assert all(words == ["pip", "install", "."] for words in commands(read(name)) if words[0] == "pip")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_make_target_exists(name: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    typed = {target for words in commands(read(name)) if words[0] == "make" for target in words[1:]}
    assert typed | set(re.findall(r"`make ([a-z-]+)`", read(name))) <= targets


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_command_of_ours_parses(name: str) -> None:
    ours = [words[1:] for words in commands(read(name)) if Path(words[0]).name == "sliderspace"]
    if name in DOCUMENTS[:1] + DOCUMENTS[2:3]:
        assert {"discover", "generate"} <= {words[0] for words in ours}
    for verb, *arguments in ours:
        if "--help" not in arguments:
            COMMANDS[verb].make_context(verb, arguments)


def test_a_wrong_command_would_be_noticed() -> None:
    text = "```bash\n$ sliderspace sweep runs/person 3 --scale 1  # a typing error\nmake demo | tail\n```\n```python\nmake\n```\n"
    (wrong, made) = commands(text)
    assert made == ["make", "demo"]
    with pytest.raises(Exception, match="--scale"):
        COMMANDS[wrong[1]].make_context(wrong[1], wrong[2:])


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_link_into_the_repository_leads_somewhere(name: str) -> None:
    links = [
        link.split("#")[0]
        for link in re.findall(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"", read(name))
        for link in link
        if link
    ]
    inside = [link for link in links if link and not re.match(r"[a-z]+:", link)]
    assert [link for link in inside if not ((ROOT / name).parent / link).exists()] == []
