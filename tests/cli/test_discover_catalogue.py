"""`discover --concepts`: a folder a concept, a gallery, failures at the end; `info` of such a folder; the plan."""

import json
from pathlib import Path

import pytest
from test_cli import Call, call, ok, refused, tiny_options  # noqa: F401


@pytest.fixture
def concepts(tmp_path: Path) -> Path:
    path = tmp_path / "concepts.csv"
    path.write_text("name,prompt\nrobots,a robot | a robot toy\nlong," + "a robot " * 200 + "\n,a person\n")
    return path


def test_a_catalogue_is_made_looked_at_and_gone_on_with(
    call: Call,  # noqa: F811
    tiny_options: list[str],  # noqa: F811
    concepts: Path,
    tmp_path: Path,
) -> None:
    out = tmp_path / "catalogue"
    command = ("discover", "--concepts", concepts, *tiny_options, "--out", out)
    planned = ok(call(*command, "--dry-run"))
    assert "3 new" in planned.stdout and "in all" in planned.stdout and not out.exists()

    first = call(*command, "--shard", "0/3", "--json")
    answer = json.loads(ok(first).stdout)
    assert answer == {"folder": str(out), "concepts": 1, "done": 1, "gallery": str(out / "gallery.html")}

    rest = call(*command)
    assert rest.exit_code == 1 and isinstance(rest.exception, SystemExit) and "Traceback" not in rest.output
    assert "3 concepts: 1 done, 2 new" in rest.stderr and "catalogue 3/3 (100 %)" in rest.stderr
    assert "done: 2" in rest.stdout and "failed: 1" in rest.stdout and "long: the prompt has" in rest.stderr
    assert {path.name for path in out.iterdir() if (path / "report.html").is_file()} == {"robots", "a-person"}
    page = (out / "gallery.html").read_text()
    assert "2 concepts" in page and 'href="robots/report.html"' in page

    told = json.loads(ok(call("info", out, "--json")).stdout)["runs"]
    assert [(row["name"], row["stage"]) for row in told][:2] == [("a-person", "done"), ("long", "new")]
    shown = ok(call("info", out)).stdout
    assert "robots" in shown and "3 runs: " in shown and "2 done" in shown
    plan = json.loads(ok(call(*command, "--dry-run", "--json")).stdout)
    assert plan["stages"] == {"new": 1, "done": 2} and plan["concepts"] == 3


def test_what_does_not_go_with_a_file_of_concepts(
    call: Call,  # noqa: F811
    concepts: Path,
    tmp_path: Path,
    finished: Path,
) -> None:
    asked = ("discover", "--concepts", concepts, "--out", tmp_path / "out")
    refused(call(*asked, "a robot"), "--concepts", "not both")
    refused(call(*asked, "--prompts", concepts), "--concepts", "not both")
    refused(call(*asked, "--expand", "openai:x"), "templates")
    refused(call(*asked, "--shard", "7/9"), "fewer concepts")
    refused(call(*asked, "--shard", "9/7"), "is no part")
    refused(call(*asked, "--engine", "ray", "--shard", "0/2"), "--engine")
    refused(call(*asked, "--device", "warp"), "--device")
    refused(call(*asked, "--backbone", "nothing-of-this-name"), "nothing-of-this-name")
    refused(call("discover", "--concepts", concepts, "--out", finished), "is a run")
    refused(call("discover", "--concepts", concepts, "--out", concepts), "is a file")
    refused(call("discover", "a robot", "--shard", "0/2"), "--concepts")
    refused(call("discover", "--concepts", tmp_path / "none.txt"), "cannot read")
    assert not (tmp_path / "out").exists()
