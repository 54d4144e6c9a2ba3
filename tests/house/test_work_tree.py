"""A run of the suite leaves the work tree as it was: `conftest` compares, and here is what it notices."""

import subprocess
from pathlib import Path

import pytest
from support.work_tree import changed, state


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "kept.txt").write_text("one")
    (tmp_path / ".gitignore").write_text("/out/\n__pycache__/\n")
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *words], cwd=tmp_path, check=True)
    return tmp_path


@pytest.mark.parametrize("name", ["new.txt", "sub/new.txt", "kept.txt", "out/ignored.txt"])
def test_what_a_test_leaves_behind_is_noticed(checkout: Path, name: str) -> None:
    before = state(checkout)
    (checkout / name).parent.mkdir(exist_ok=True)
    (checkout / name).write_text("two")
    assert [path.split("/")[0] for path in changed(before, state(checkout))] == [name.split("/")[0]]


def test_a_file_that_was_changed_before_is_noticed_when_it_changes_again(checkout: Path) -> None:
    (checkout / "kept.txt").write_text("two")
    before = state(checkout)
    assert changed(before, state(checkout)) == []
    (checkout / "kept.txt").write_text("three")
    assert changed(before, state(checkout)) == ["kept.txt"]


def test_what_tools_keep_for_themselves_does_not_count(checkout: Path) -> None:
    before = state(checkout)
    (checkout / "__pycache__").mkdir()
    (checkout / "__pycache__" / "a.pyc").write_text("")
    assert changed(before, state(checkout)) == []


def test_outside_a_checkout_there_is_nothing_to_compare(tmp_path: Path) -> None:
    assert state(tmp_path) == {}
