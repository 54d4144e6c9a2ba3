"""The package as others get it: built as a wheel, installed where the source tree is out of reach, and run."""

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# What is imported under another name than it is installed by.
IMPORT_NAMES = {"pillow": "PIL", "torch-fidelity": "torch_fidelity", "huggingface-hub": "huggingface_hub"}


def _run(*arguments: object, cwd: Path, timeout: float = 120) -> str:
    """The output of a command; no variable of ours leads it back to the source tree, or to the network."""
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME"}}
    environment |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    command = [str(argument) for argument in arguments]
    done = subprocess.run(command, cwd=cwd, env=environment, text=True, capture_output=True, timeout=timeout)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    _run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, ROOT, cwd=out)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of a new environment that holds the wheel and borrows only the dependencies of this one.

    Installing torch again would take minutes and prove nothing about us. A .pth line adds a folder to the path without
    reading the .pth files in it, so an editable install of sliderspace is not borrowed along with them.
    """
    folder = tmp_path_factory.mktemp("empty")
    _run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    python = folder / "bin" / "python"
    _run(sys.executable, "-m", "pip", "--python", python, "install", "--no-index", "--no-deps", wheel, cwd=folder)
    site = Path(_run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip())
    borrowed = dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    (site / "dependencies.pth").write_text("\n".join(borrowed) + "\n", encoding="utf-8")
    return folder / "bin"


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"sliderspace"}
    shipped = {f"sliderspace/{path.relative_to(ROOT / 'src/sliderspace').as_posix()}" for path in _package_data()}
    assert any(name.endswith(".safetensors") for name in shipped)
    assert any(name.endswith(".j2") for name in shipped)
    assert shipped <= set(names)
    assert any(name.endswith("licenses/NOTICE") for name in names), "Apache-2.0 asks for it to travel along"


def _package_data() -> list[Path]:
    found = (ROOT / "src" / "sliderspace").rglob("*")
    return [path for path in found if path.is_file() and path.suffix not in (".py", ".pyc")]


def test_the_installed_wheel_discovers(installed: Path, tmp_path: Path) -> None:
    where = _run(installed / "python", "-c", "import sliderspace; print(sliderspace.__file__)", cwd=tmp_path).strip()
    assert Path(where).resolve().is_relative_to(installed.parent.resolve())
    small = ["--sliders", 1, "--samples", 4, "--updates", 1, "--steps", 1, "--resolution", 64]
    discover = [installed / "sliderspace", "discover", "a monster", "--backbone", "mini-turbo"]
    _run(*discover, *small, "--out", "run", cwd=tmp_path, timeout=300)
    run = tmp_path / "run"
    files = [
        "config.json",
        "directions.safetensors",
        "sliders.safetensors",
        "space.json",
        "measures.json",
        "report.html",
    ]
    assert [name for name in files if not (run / name).is_file()] == []
    assert any((run / "trajectories").iterdir())


def _third_party(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names) - {"sliderspace"}


def test_every_import_is_a_declared_dependency(wheel: Path) -> None:
    """Borrowed dependencies could hide one that is missing from the metadata."""
    metadata = importlib.metadata.PathDistribution(zipfile.Path(wheel, _metadata_folder(wheel)))
    names = [
        re.split(r"[\s;<>=!~\[]", line)[0] for line in metadata.requires or [] if not re.search(r"extra == .dev", line)
    ]
    declared = {IMPORT_NAMES.get(name, name.replace("-", "_")) for name in names}
    imported = {name for path in (ROOT / "src").rglob("*.py") for name in _third_party(path)}
    assert imported <= declared


def _metadata_folder(wheel: Path) -> str:
    (folder,) = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" in name}
    return folder + "/"
