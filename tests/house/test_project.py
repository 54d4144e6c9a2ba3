"""What pyproject.toml and the Makefile name is there."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SOURCE = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
OPTIONAL = PROJECT["project"]["optional-dependencies"]
EXTRAS = {name: needs for name, needs in OPTIONAL.items() if name not in ("dev", "docs")}  # those build and test


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_is_something_that_the_code_uses(extra: str) -> None:
    modules = [re.split(r"[^\w-]", need)[0].replace("-", "_") for need in EXTRAS[extra]]
    assert all(re.search(rf"\b{module}\b", SOURCE) for module in modules)


def test_what_goes_into_the_archive_is_there() -> None:
    named = PROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    assert [pattern for pattern in named if not list(ROOT.glob(pattern.lstrip("/")))] == []


@pytest.mark.parametrize("marker", ["slow", "families"])
def test_a_make_target_for_tests_selects_some(marker: str) -> None:
    marked = re.compile(rf"pytest\.mark\.{marker}\b")
    assert any(marked.search(path.read_text(encoding="utf-8")) for path in (ROOT / "tests").rglob("test_*.py"))
