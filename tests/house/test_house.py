"""Rules of the house that a reader would otherwise have to check by hand: safety, layers, sizes, and a quick
`--help`."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "sliderspace"
ASSETS = PACKAGE / "assets"
SOURCES = sorted([*PACKAGE.rglob("*.py"), *(ROOT / "miniature").rglob("*.py")])
MIB = 2**20

UNPICKLERS = {
    "pickle",
    "_pickle",
    "cPickle",
    "pickle5",
    "cloudpickle",
    "dill",
    "joblib",
    "shelve",
    "marshal",
    "jsonpickle",
}
EVALUATORS = {"eval", "exec", "compile", "__import__"}
UNPICKLING_CALLS = {"read_pickle", "unsafe_load", "full_load", "load_all"}
LOADS_NO_WEIGHTS = re.compile(r"Tokenizer|Processor|FeatureExtractor|Scheduler|Config")


# (1) nothing unpickles or evaluates text


def _is(node: ast.expr | None, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [node.module or ""] + [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def _bad_call(call: ast.Call) -> str | None:
    name, options = ast.unparse(call.func), {k.arg: k.value for k in call.keywords}
    owner, _, verb = name.rpartition(".")
    if verb in EVALUATORS and owner in {"", "builtins"}:
        return f"{verb} runs text"
    if verb in UNPICKLING_CALLS or (owner == "yaml" and verb == "load"):
        return f"{name} can build any object"
    if name in {"torch.load", "torch.jit.load", "torch.hub.load"} and not _is(options.get("weights_only"), True):
        return f"{name} unpickles"
    if _is(options.get("allow_pickle"), True) or _is(options.get("trust_remote_code"), True):
        return f"{name} is told to trust what it reads"
    if (
        verb == "from_pretrained"
        and not LOADS_NO_WEIGHTS.search(owner)
        and not _is(options.get("use_safetensors"), True)
    ):
        return f"{name} falls back to pickled weights unless use_safetensors=True"
    return None


def dangers(source: str) -> Iterator[str]:
    """`line: why` for everything in Python source that unpickles, or evaluates text."""
    for node in ast.walk(ast.parse(source)):
        for module in _imported(node):
            if module.split(".")[0] in UNPICKLERS or module in {"torch.load", "builtins.eval", "builtins.exec"}:
                yield f"{node.lineno}: imports {module}"
        if isinstance(node, ast.Call) and (why := _bad_call(node)):
            yield f"{node.lineno}: {why}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_unpickles_or_evaluates_text(path: Path) -> None:
    assert list(dangers(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "planted",
    [
        "import pickle",
        "def f():\n    from joblib import load",
        "from torch import load",
        "eval('1 + 1')",
        "exec(text)",
        "import builtins\nbuiltins.eval(text)",
        "code = compile(text, 'x', 'eval')",
        "__import__(name)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "numpy.load(path, allow_pickle=True)",
        "yaml.load(text, Loader=yaml.Loader)",
        "pandas.read_pickle(path)",
        "AutoModel.from_pretrained(folder, use_safetensors=True, trust_remote_code=True)",
        "CLIPModel.from_pretrained(folder)",
    ],
)
def test_the_scanner_sees_a_planted_danger(planted: str) -> None:
    assert list(dangers(planted))


def test_the_scanner_allows_what_is_harmless() -> None:
    harmless = """
        model.eval()
        re.compile("x")
        torch.compile(model)
        torch.load(path, weights_only=True)
        yaml.safe_load(text)
        numpy.load(path)
        CLIPTokenizer.from_pretrained(folder)
        CLIPModel.from_pretrained(folder, use_safetensors=True)
    """
    assert list(dangers("\n".join(line.strip() for line in harmless.splitlines()))) == []


# (2) layers


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "COLUMNS": "120"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, text=True, capture_output=True, timeout=120
    )


def test_imports_follow_the_layers() -> None:
    done = _run("-c", "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))")
    assert done.returncode == 0, done.stdout + done.stderr


def test_locks_are_taken_in_one_place() -> None:
    """Which knows of file systems without them."""
    takers = [
        str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py") if "FileLock(" in path.read_text("utf-8")
    ]
    assert takers == ["storage/locks.py"]


# (3), (4), (6) sizes and kinds of files


def test_source_files_are_short() -> None:
    lines = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for path in PACKAGE.rglob("*.py")
    }
    assert {name: count for name, count in lines.items() if count >= 350} == {}


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    """The files git tracks; on an unpacked archive there is nothing to ask."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listing = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z"], cwd=ROOT, text=True, capture_output=True, check=True
    )
    return [path for name in listing.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def test_the_repository_is_small(tracked: list[Path]) -> None:
    assert sum(path.stat().st_size for path in tracked) < 60 * MIB


def test_lock_files_hold_no_addresses(tracked: list[Path]) -> None:
    locks = [path for path in tracked if path.name == "constraints.txt" or "lock" in path.name]
    assert ROOT / "constraints.txt" in locks
    assert [path.name for path in locks if re.search(r"\w://|\"resolved\"", path.read_text(encoding="utf-8"))] == []


def test_what_is_installed_runs_on_the_oldest_python_we_name() -> None:
    """A pinned version that wants a newer one cannot be installed there, and its extra with it."""
    found = re.search(r'requires-python = ">=(.*)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert found
    asked = {d.name: SpecifierSet(d.metadata.get("Requires-Python") or "") for d in distributions()}
    assert len(asked) > 50
    assert [name for name, pythons in asked.items() if not pythons.contains(f"{found[1]}.0")] == []


def test_the_shipped_weights_are_small() -> None:
    sizes = [path.stat().st_size for path in ASSETS.rglob("*.safetensors")]
    assert sizes, "no model is shipped"
    assert sum(sizes) < 36 * MIB


def test_assets_are_files_that_cannot_run() -> None:
    files = [path for path in ASSETS.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".txt", ".md"}


# (5) the command line answers at once


def _seconds(*arguments: str) -> float:
    """Processor time, so that what else runs on the machine does not count."""
    before = os.times()
    done = _run(*arguments)
    after = os.times()
    took = after.children_user + after.children_system - before.children_user - before.children_system
    assert done.returncode == 0, done.stderr
    assert "discover" in done.stdout
    return took


def test_help_is_instant() -> None:
    assert min(_seconds("-m", "sliderspace.cli", "--help") for _ in range(3)) < 0.5


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("sliderspace.cli", ("torch", "diffusers", "transformers", "numpy", "ray")),
        ("sliderspace.engine.local, sliderspace.engine.worker, sliderspace.cli.engines, sliderspace.api", ("ray",)),
    ],
)
def test_what_is_not_needed_is_not_imported(module: str, heavy: tuple[str, ...]) -> None:
    done = _run("-c", f"import sys, {module}; print(sorted({set(heavy)} & set(sys.modules)))")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
