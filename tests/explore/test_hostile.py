"""What the page might be asked, and what might lie in a run folder: each is a message, and nothing is harmed."""

import json
from pathlib import Path

import pytest

from sliderspace.explore.mix import FARTHEST, MOST_PICTURES, Mix
from sliderspace.explore.session import Session

HOSTILE: list[tuple[str, object]] = [
    ("no object", ["draw"]),
    ("no action", {}),
    ("an inner name", {"action": "__init__"}),
    ("another inner name", {"action": "_run", "number": 0}),
    ("a run by path", {"action": "open", "run": "../../etc"}),
    ("a run that is not there", {"action": "open", "run": 99}),
    ("a run from behind", {"action": "open", "run": -1}),
    ("a field too many", {"action": "open", "run": 0, "path": "/etc/passwd"}),
    ("a slider that is not there", {"action": "draw", "run": 0, "mix": {"strengths": {"77": 1}}}),
    ("strength of words", {"action": "draw", "run": 0, "mix": {"strengths": {"0": "much"}}}),
    ("strength not a number", {"action": "draw", "run": 0, "mix": {"strengths": {"0": float("nan")}}}),
    ("endless strength", {"action": "draw", "run": 0, "mix": {"strengths": {"0": float("inf")}}}),
    ("seeds of words", {"action": "draw", "run": 0, "mix": {"seeds": "all of them"}}),
    ("a million pictures", {"action": "draw", "run": 0, "mix": {"seeds": "0-1000000"}}),
    ("a seed of 300 digits", {"action": "draw", "run": 0, "mix": {"seeds": "9" * 300}}),
    ("a seed beyond 63 bits", {"action": "draw", "run": 0, "mix": {"seeds": str(2**63)}}),
    ("a step that is not there", {"action": "draw", "run": 0, "mix": {"start": 900, "strengths": {"0": 1}}}),
    ("a prompt without end", {"action": "draw", "run": 0, "mix": {"prompt": "x" * 10**6}}),
    ("a name without end", {"action": "rename", "run": 0, "slider": 0, "name": "x" * 10**6}),
    ("a preset without a name", {"action": "save_preset", "run": 0, "name": " \u200b", "mix": {}}),
    ("a preset of markup in a number", {"action": "save_preset", "run": 0, "name": "p", "mix": {"start": "<b>"}}),
    ("hiding what is not there", {"action": "hide", "run": 0, "slider": 10**9, "hidden": True}),
    ("exporting what is not there", {"action": "export", "run": 0, "sliders": [5]}),
    ("a mix of what is not there", {"action": "export_whole", "run": 0, "mix": {"strengths": {"5": 1}}}),
    ("a mix of nothing", {"action": "export_whole", "run": 0, "mix": {"strengths": {"0": 1}, "off": [0]}}),
    ("going on with nothing", {"action": "go_on"}),
    ("a sweep of no width", {"action": "sweep", "run": 0, "mix": {}, "slider": 0, "span": [0, 0]}),
    ("a discovery with a model of their choice", {"action": "discover", "asked": {"prompt": "x", "backbone": "/etc"}}),
    ("a discovery of nothing", {"action": "discover", "asked": {"prompt": "  "}}),
    ("a discovery of millions", {"action": "discover", "asked": {"prompt": "x", "sliders": 10**9}}),
]


@pytest.mark.parametrize("asked", [asked for _, asked in HOSTILE], ids=[name for name, _ in HOSTILE])
def test_hostile_requests_get_a_message_and_change_nothing(session: Session, run: Path, asked: object) -> None:
    def listing() -> dict[str, int]:
        return {str(path): path.stat().st_mtime_ns for path in run.parent.rglob("*") if ".lock" not in path.name}

    before = listing()
    answer = session.act(asked)
    assert set(answer) == {"error"}
    assert 0 < len(answer["error"]) < 400
    assert {p: t for p, t in listing().items() if not Path(p).is_dir()} == {
        p: t for p, t in before.items() if not Path(p).is_dir()
    }


def test_huge_strengths_are_brought_into_range() -> None:
    assert Mix(strengths={0: 1e300, 1: -1e300, 2: 3}).strengths == {0: FARTHEST, 1: -FARTHEST, 2: 3}
    assert len(Mix(seeds=f"0-{MOST_PICTURES - 1}").listed_seeds) == MOST_PICTURES


@pytest.mark.parametrize("name", ["presets", "labels"])
def test_a_damaged_file_is_a_message(session: Session, run: Path, name: str) -> None:
    session.act({"action": "save_preset", "run": 0, "name": "p", "mix": {}})
    session.act({"action": "rename", "run": 0, "slider": 0, "name": "n"})
    path = run / {"presets": "explore.json", "labels": "labels.json"}[name]
    path.write_text(path.read_text()[:50])
    assert path.name in session.act({"action": "open", "run": 0})["error"]


@pytest.mark.parametrize(
    "view",
    [
        '{"presets": {"p": {"strengths": {"0": 1e999}}}}',
        '{"presets": {"p": {"run": "../../etc"}}}',
        '{"hidden": ["<b>"]}',
        '{"presets": []}',
        "[" * 100_000,
    ],
    ids=["endless", "a field too many", "markup for a number", "a list", "deep"],
)
def test_presets_that_cannot_be_are_a_message(session: Session, run: Path, view: str) -> None:
    session.act({"action": "save_preset", "run": 0, "name": "p", "mix": {}})
    stored = json.loads((run / "explore.json").read_text())
    stamp = {key: stored[key] for key in ("format", "kind", "fingerprint")}
    (run / "explore.json").write_text(f"{json.dumps(stamp)[:-1]}, {view[1:]}" if view[0] == "{" else view)
    answer = session.act({"action": "open", "run": 0})
    assert "explore.json" in answer["error"]


def test_endless_measures_do_no_harm(session: Session, run: Path) -> None:
    measures = json.loads((run / "measures.json").read_text())
    for slider in measures["sliders"]:
        slider |= {"span": [-1e300, 1e300], "alignment": 1e308, "selectivity": -1e308, "unit": 1e-300}
    (run / "measures.json").write_text(json.dumps(measures))
    for found in session.act({"action": "open", "run": 0})["rows"]:
        assert tuple(found["span"]) == (-FARTHEST, FARTHEST)
        assert len(found["measures"]) < 1000


@pytest.mark.parametrize("name", ["explore.json", "labels.json"])
def test_a_link_in_the_run_folder_is_replaced_and_never_written_through(
    session: Session, run: Path, tmp_path: Path, name: str
) -> None:
    mine = tmp_path / "mine.json"
    mine.write_text("{}")
    (run / name).symlink_to(mine)
    for _ in range(2):  # the first may say that the file is damaged
        session.act({"action": "save_preset", "run": 0, "name": "p", "mix": {}})
        session.act({"action": "rename", "run": 0, "slider": 0, "name": "n"})
    assert mine.read_text() == "{}"


def test_markup_is_kept_as_it_is_typed(session: Session) -> None:
    """The page shows it as text: escaped twice, it would be seen escaped."""
    session.act({"action": "save_preset", "run": 0, "name": "<b>x</b>", "mix": {"prompt": "<script>"}})
    session.act({"action": "rename", "run": 0, "slider": 0, "name": "a &amp; \u202eb"})
    found = session.act({"action": "open", "run": 0})
    assert found["presets"]["<b>x</b>"]["prompt"] == "<script>"
    assert found["rows"][0]["name"] == "a &amp; ⟨U+202E⟩b"
