"""The gallery shows every finished run, lists the others with the reason, and no text or file of a run can hurt it."""

import json
import re
import shutil
from pathlib import Path
from threading import Thread
from urllib.parse import unquote

import pytest
from support.html import Page
from support.spaces import change_settings
from typer.testing import CliRunner

from sliderspace.cli import app
from sliderspace.core.errors import BadInput
from sliderspace.report.from_run import report_run
from sliderspace.report.gallery import NAME, write_gallery
from sliderspace.space.labels import rename
from sliderspace.storage.run_folder import RunFolder

EVIL = """"><script>alert(1)</script><img src=x onerror=alert(2)> {{ 7*7 }} ' </style></title> \u202e\x1b[31m"""


@pytest.fixture
def runs(finished: Path, tmp_path: Path) -> Path:
    """Two finished runs, one of them with a report."""
    root = tmp_path / "runs"
    for name in ("one", "two"):
        shutil.copytree(finished, root / name)
    (root / "two" / "report.html").unlink(missing_ok=True)
    report_run(RunFolder(root / "one"))
    rename(RunFolder(root / "one"), {0: "tall hat"})
    return root


def shown(root: Path) -> Page:
    page, _, _ = write_gallery(root)
    return Page(page.read_text(encoding="utf-8"))


def test_every_finished_run_has_its_card(runs: Path) -> None:
    page, count, unshown = write_gallery(runs)
    found = Page(page.read_text(encoding="utf-8"))
    assert (page, count, unshown) == (runs / NAME, 2, 0)
    assert "2 concepts" in found.text and "Names: tall hat" in found.text and found.text.count("3 sliders") == 2
    measured = json.loads((runs / "one" / "measures.json").read_text())["mean"]["alignment"]
    assert f"alignment {measured:.2f}".replace("-", "−") in found.text
    assert set(found.values("href")) == {"one/report.html"} and "No report yet" in found.text
    assert all(value.startswith("data:image/") for value in found.values("src"))
    assert len(found.values("src")) == 2 * 3 * 3 and all(found.values("alt"))
    assert "script" not in found.tags


def test_written_again_it_is_replaced_and_a_strangers_page_is_not(runs: Path) -> None:
    write_gallery(runs)
    shutil.rmtree(runs / "two")
    assert "1 concept" in shown(runs).text
    (runs / NAME).write_text("my own page")
    with pytest.raises(BadInput, match="not replaced"):
        write_gallery(runs)
    assert (runs / NAME).read_text() == "my own page"


def test_what_cannot_be_shown_is_listed_with_the_reason(runs: Path, finished: Path) -> None:
    def broken(name: str) -> Path:
        return Path(shutil.copytree(finished, runs / name))

    (broken("unfinished") / "space.json").unlink()
    (broken("measures") / "measures.json").write_text("{")
    (broken("labels") / "labels.json").write_text('{"format": "sliderspace/2", "kind": "labels", "fingerprint": 3}')
    (broken("space") / "space.json").write_text("[]")
    (broken("sliders") / "sliders.safetensors").write_bytes(b"")
    strips = broken("strips") / "strips.safetensors"
    strips.write_bytes(strips.read_bytes()[:-9])
    (runs / "empty").mkdir()
    RunFolder(runs / "empty").lock.touch()
    (runs / "notes").mkdir()
    (runs / "notes" / "x.txt").write_text("not a run")
    page, count, unshown = write_gallery(runs)
    text = Page(page.read_text(encoding="utf-8")).text
    listed = text.partition("Not shown")[2]
    assert (count, unshown) == (2, 7) or (count, unshown) == (3, 6), "broken labels may be those of no slider"
    assert "unfinished , “a robot”: not finished yet" in listed and "empty : not finished yet" in listed
    assert all(f"{name} " in listed for name in ("measures", "space", "strips", "sliders")) and "notes" not in text
    assert str(runs) not in text, "no folder of this machine"


def test_texts_of_strangers_are_text(runs: Path, finished: Path) -> None:
    harmless = shown(runs)
    change_settings(runs / "one", prompts=(EVIL, "a person"), backbone="local:" + EVIL)
    rename(RunFolder(runs / "one"), {0: EVIL[:60]})
    found = shown(runs)
    assert found.tags == harmless.tags and not re.search("[\x1b\u202e]", (runs / NAME).read_text(encoding="utf-8"))
    assert "<script>alert(1)</script>" in found.text and "{{ 7*7 }}" in found.text


@pytest.mark.parametrize("name", ['"><b>x', "javascript:alert(1)", "a?b#c", "&amp;", "über uns"])
def test_a_folder_of_any_name_is_linked_to(runs: Path, name: str) -> None:
    (runs / "one").rename(runs / name)
    found = shown(runs)
    [link] = set(found.values("href"))
    assert unquote(link) == f"{name}/report.html" and not re.search(r"^[a-z]+:|[?#\"<]", link)
    assert "b" not in found.tags or found.tags.count("b") == shown(runs).tags.count("b")


def test_links_to_other_places_bring_nothing_of_them(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("password")
    for name in ("measures.json", "labels.json"):
        (runs / "two" / name).unlink(missing_ok=True)
        (runs / "two" / name).symlink_to(tmp_path / "secret")
    (runs / "loop").symlink_to(runs)
    page, count, _ = write_gallery(runs)
    assert count == 1 and "password" not in page.read_text(encoding="utf-8")


def test_a_link_in_the_pages_place_is_not_written_through(runs: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.html"
    mine.write_text("mine")
    (runs / NAME).symlink_to(mine)
    with pytest.raises(BadInput, match="not replaced"):
        write_gallery(runs)
    (runs / "two" / "report.html").symlink_to(mine)
    report_run(RunFolder(runs / "two"))
    assert mine.read_text() == "mine" and not (runs / "two" / "report.html").is_symlink()


def test_endless_numbers_do_no_harm(runs: Path) -> None:
    path = runs / "one" / "measures.json"
    measures = json.loads(path.read_text())
    for slider in [measures["mean"], *measures["sliders"]]:
        slider |= {"alignment": 1e308, "consistency": -1e308, "explained_variance_ratio": 1e300}
    for slider in measures["sliders"]:
        slider["span"] = [-1e300, 1e300]
    path.write_text(json.dumps(measures))
    assert shown(runs).text.count("3 sliders") == 2
    assert Page(report_run(RunFolder(runs / "one")).read_text(encoding="utf-8")).tags


def test_two_writers_leave_a_whole_page(runs: Path) -> None:
    writers = [Thread(target=write_gallery, args=(runs,)) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert (runs / NAME).read_text(encoding="utf-8").rstrip().endswith("</html>")
    assert not list(runs.glob(".*.partial"))


def test_folders_without_runs(tmp_path: Path, finished: Path) -> None:
    for folder, said in ((tmp_path / "no", "not a folder"), (tmp_path, "no run in"), (finished, "folder it is in")):
        with pytest.raises(BadInput, match=said):
            write_gallery(folder)


def test_the_command_says_where_the_page_is(runs: Path) -> None:
    done = CliRunner().invoke(app, ["gallery", str(runs), "--json"])
    assert json.loads(done.output) == {"gallery": str(runs / NAME), "runs": 2, "unshown": 0}
