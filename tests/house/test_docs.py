"""The documents as a site: every page is in its contents, it builds without a warning, and names all that is public."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import sliderspace

ROOT = Path(__file__).parents[2]


def pages(entries: list[Any]) -> Iterator[str]:
    """The files that the contents name."""
    for entry in entries:
        if isinstance(entry, str):
            yield entry
        else:
            for below in entry.values():
                yield from pages(below if isinstance(below, list) else [below])


def test_every_page_is_in_the_contents() -> None:
    contents = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    there = [path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")]
    assert sorted(pages(contents)) == sorted(there)


def test_the_reference_names_all_that_is_public() -> None:
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    named = {line.rpartition(".")[2] for line in text.splitlines() if line.startswith("::: ")}
    own = named - {"BadInput", "DamagedFile"}  # kinds of SliderSpaceError
    assert set(sliderspace.__all__) - {"Encoder"} == own, "an encoder is what load_encoder returns"


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, env=environment, text=True, capture_output=True, timeout=600)
    assert done.returncode == 0 and "WARNING" not in done.stderr, done.stderr[-3000:]
    reference = (tmp_path / "site" / "api.html").read_text(encoding="utf-8")
    for name in ("discover", "SliderSpace", "generate", "delayed_start", "Settings"):
        assert re.search(rf'<h\d id="sliderspace\.[\w.]*{name}"', reference), name
    for path in (tmp_path / "site").rglob("*.html"):
        assert not re.search(r'(src|href)="https?://fonts', path.read_text(encoding="utf-8")), "nothing is fetched"


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path) -> None:
    """In a folder of its own: its discovery goes there."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(ROOT / "docs" / "notebooks" / "first-look.ipynb", as_version=4)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    client = NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(tmp_path)}})
    client.execute(env=environment)
    assert (tmp_path / "runs" / "notebook" / "report.html").is_file()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2, "a chart and a strip"
