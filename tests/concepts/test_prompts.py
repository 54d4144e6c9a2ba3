"""Prompts from files, templates and language models. The models are a local stand-in that speaks both interfaces over
real HTTP."""

import json
import math
from collections import Counter
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from support.language_server import BOTH, KEY, PATHS, StandIn, serving

from sliderspace.concepts.expansion import MOST, Expansion, expand_with_model
from sliderspace.concepts.files import from_file
from sliderspace.concepts.prompts import prompts_for
from sliderspace.concepts.templates import COMBINATIONS, WORDS, expand_templates
from sliderspace.core.errors import BadInput, DamagedFile, SliderSpaceError
from sliderspace.language import chat


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    with serving(monkeypatch) as made:
        yield made


def robots(first: int, last: int) -> str:
    return json.dumps([f"a robot, number {i}" for i in range(first, last)])


def ask(server: StandIn, count: int, provider: str = "openai", **more: Any) -> Expansion:
    return expand_with_model(
        "a robot", count, **{"provider": provider, "model": "stand-in", "base_url": server.url, **more}
    )


# ---- a good answer


@BOTH
def test_a_good_answer_is_taken_in_order(server: StandIn, provider: str) -> None:
    server.replies = [robots(0, 3)]
    made = ask(server, 3, provider)
    assert made == Expansion(
        ("a robot, number 0", "a robot, number 1", "a robot, number 2"), asked=3, received=3, calls=1
    )
    (seen,) = server.seen
    assert seen["path"] == PATHS[provider]
    assert seen["body"]["model"] == "stand-in"
    assert server.keys() == [KEY]
    assert '"a robot"' in server.questions()[0] and "3 different prompts" in server.questions()[0]


@pytest.mark.parametrize(
    "text",
    [
        'Here you are:\n```json\n["a red robot", "a blue robot"]\n```\nEnjoy [them]!',
        '```\n["a red robot",\n "a blue robot"]\n```',
        '```json ["a red robot", "a blue robot"] ```',
        '<think>["a draft"] or [another]?</think>\n["a red robot", "a blue robot"]',
        'Sure: ["a red robot", "a blue robot"].',
        '{"prompts": ["a red robot", "a blue robot"]}',
        '["a red\\nrobot ", "\\u001b a blue \\ud800 robot"]',
    ],
)
@BOTH
def test_the_list_is_found_in_what_models_put_around_it(server: StandIn, provider: str, text: str) -> None:
    server.replies = [text]
    assert ask(server, 2, provider).prompts == ("a red robot", "a blue robot")


@BOTH
def test_likenesses_are_dropped_and_the_missing_ones_asked_for(server: StandIn, provider: str) -> None:
    mixed = ["A robot, red.", "a  ROBOT red", "a ro\u200bbot (red)", "\u200b", "!?", "a robot, blue"]
    server.replies = [json.dumps(mixed), '["A Robot: Blue!", "a tin robot"]', robots(0, 9)]
    made = ask(server, 4, provider)
    assert made.prompts == ("A robot, red.", "a robot, blue", "a tin robot", "a robot, number 0")
    assert (made.asked, made.received, made.calls) == (4, 6 + 2 + 9, 3)
    first, second, third = server.questions()
    assert "already" not in first
    assert "Write 2 different" in second and '["A robot, red.", "a robot, blue"]' in second
    assert "Write 1 different" in third and "a tin robot" in third


def test_prompts_in_other_scripts_are_told_apart(server: StandIn) -> None:
    different = ["机器人", "机器猫", "की", "का", "робот ☂", "робот ☀"]
    server.replies = [json.dumps([*different, "Робот ☂!"])]
    assert ask(server, 6).prompts == tuple(different)


def test_many_prompts_are_asked_for_in_batches(server: StandIn) -> None:
    server.replies = [robots(0, 40), robots(40, 80), robots(80, 90)]
    made = ask(server, 90)
    assert made.calls == 3 and len(set(made.prompts)) == 90
    assert [q.split()[1] for q in server.questions()] == ["40", "40", "10"]


# ---- too few, and the cache


def test_too_few_is_an_error_and_the_same_command_asks_for_the_rest(server: StandIn, tmp_path: Path) -> None:
    cache = tmp_path / "prompts.json"
    server.replies = [robots(0, 2), *[robots(0, 2)] * 3]
    with pytest.raises(SliderSpaceError, match=r"gave 2 different prompts of the 5 asked for \(8 received\)"):
        ask(server, 5, cache=cache)
    server.replies = [robots(2, 5)]
    made = ask(server, 5, cache=cache)
    assert made.prompts == tuple(json.loads(robots(0, 5))) and (made.received, made.calls) == (11, 1)


def test_a_failure_half_way_loses_nothing(server: StandIn, tmp_path: Path) -> None:
    cache = tmp_path / "prompts.json"
    server.replies = [robots(0, 40), (400, {"error": {"message": "no more"}})]
    with pytest.raises(SliderSpaceError, match="no more"):
        ask(server, 50, cache=cache)
    server.replies = [robots(40, 50)]
    assert ask(server, 50, cache=cache).prompts == tuple(json.loads(robots(0, 50)))


@BOTH
def test_the_same_request_is_never_made_twice(
    server: StandIn, tmp_path: Path, provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "prompts.json"
    server.replies = [robots(0, 4)]
    first = ask(server, 4, provider, cache=cache)
    stored = json.loads(cache.read_text())
    assert {k: stored[k] for k in ("provider", "model", "concept", "count", "received", "kept")} == {
        "provider": provider,
        "model": "stand-in",
        "concept": "a robot",
        "count": 4,
        "received": 4,
        "kept": 4,
    }
    assert KEY not in cache.read_text()
    cache.write_text(cache.read_text().replace(stored["date"], "2001-01-01"))  # another day
    monkeypatch.delenv(chat.SERVICES[provider].key_name)
    again = ask(server, 4, provider, cache=cache)
    assert (again.prompts, again.received, again.calls) == (first.prompts, 4, 0)
    assert len(server.seen) == 1


@pytest.mark.parametrize("changed", [{"count": 2}, {"model": "other"}, {"provider": "anthropic"}, {"concept": "a toy"}])
def test_another_request_is_made_afresh(server: StandIn, tmp_path: Path, changed: dict[str, Any]) -> None:
    request: dict[str, Any] = {"concept": "a robot", "count": 3, "provider": "openai", "model": "stand-in"}
    more: dict[str, Any] = {"base_url": server.url, "cache": tmp_path / "prompts.json"}
    server.replies = [robots(0, 3), robots(10, 10 + changed.get("count", 3))]
    expand_with_model(**request, **more)
    assert expand_with_model(**{**request, **changed}, **more).prompts[0] == "a robot, number 10"


def test_a_failed_call_leaves_an_older_cache_alone(server: StandIn, tmp_path: Path) -> None:
    cache = tmp_path / "prompts.json"
    server.replies = [robots(0, 3), "no list"]
    ask(server, 3, cache=cache)
    before = cache.read_bytes()
    with pytest.raises(SliderSpaceError):
        ask(server, 4, cache=cache)
    assert cache.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["prompts.json"]


def test_a_damaged_cache_says_so_and_asks_nobody(server: StandIn, tmp_path: Path) -> None:
    cache = tmp_path / "prompts.json"
    server.replies = [robots(0, 3)]
    ask(server, 3, cache=cache)
    whole = cache.read_text()
    for broken in (
        whole[:-30],
        whole.replace('"a robot, number 1"', "17"),
        whole.replace('"kind": "prompts"', '"kind": "space"'),
    ):
        cache.write_text(broken)
        with pytest.raises(DamagedFile):
            ask(server, 3, cache=cache)
    assert len(server.seen) == 1


def test_a_cache_that_cannot_be_written_is_known_before_the_call(server: StandIn, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no folder"):
        ask(server, 3, cache=tmp_path / "nowhere" / "prompts.json")
    assert not server.seen


# ---- failures


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I'd rather not.",
        '["cut sho',
        "[1]",
        '[{"prompt": "a robot"}]',
        '"a robot"',
        "['a robot'] + [str(1)]",
        "[" * 100_000 + "]",
    ],
    ids=range(8),
)
@BOTH
def test_an_answer_that_is_no_list_of_texts_is_an_error(
    server: StandIn, provider: str, text: str, tmp_path: Path
) -> None:
    server.replies = [text]
    with pytest.raises(SliderSpaceError, match="did not answer with a JSON list of texts") as caught:
        ask(server, 3, provider, cache=tmp_path / "prompts.json")
    assert str(caught.value).count("\n") == 1 and len(str(caught.value)) < 500
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("concept", "count"), [(" ", 3), ("\u200b", 3), ("a robot", 0), ("a robot", MOST + 1)])
def test_a_request_that_makes_no_sense_is_not_sent(server: StandIn, concept: str, count: int) -> None:
    with pytest.raises(BadInput):
        expand_with_model(concept, count, provider="openai", model="m", base_url=server.url)
    assert not server.seen


# ---- templates


def test_templates_keep_the_concept_and_begin_with_it_alone() -> None:
    made = expand_templates("  artwork in the style of a famous artist ", 200)
    assert made[0] == "artwork in the style of a famous artist"
    assert all(p.startswith("artwork in the style of a famous artist, ") for p in made[1:])
    assert (
        made[1]
        == made[0] + ", oil painting, in a forest, soft morning light, close-up, cheerful mood, symmetrical composition"
    )
    assert expand_templates("a toy.", 2)[1].startswith("a toy. oil painting, ")


def test_templates_are_the_same_however_many_are_asked_for() -> None:
    assert expand_templates("a toy", 7) == expand_templates("a toy", 70)[:7]


def test_all_templates_differ_and_there_are_no_more() -> None:
    assert len(set(expand_templates("a toy", COMBINATIONS))) == COMBINATIONS == 360_360
    for count in (0, -1, COMBINATIONS + 1):
        with pytest.raises(BadInput, match="1 to 360360"):
            expand_templates("a toy", count)
    for nothing in (" ", "\u200b", "\ufeff \u2060", "\u3164", "\u2800", "\u202e"):
        with pytest.raises(BadInput, match="empty"):
            expand_templates(nothing, 3)


def test_every_word_is_used_equally_often() -> None:
    for words in WORDS:
        used = Counter(word for p in expand_templates("a toy", 20 * len(words)) for word in p.split(", ")[1:])
        assert {used[word] for word in words if word} == {20}
    assert all(math.gcd(len(a), len(b)) == 1 for a, b in combinations(WORDS, 2))


def test_templates_leave_room_in_a_text_encoder() -> None:
    """CLIP reads 75 tokens; a comma is one, and so are most of these words."""
    assert max(len(p.split()) for p in expand_templates("toy", COMBINATIONS)) <= 26


# ---- files


def test_a_text_file_holds_one_prompt_a_line(tmp_path: Path) -> None:
    path = tmp_path / "prompts.TXT"
    path.write_bytes("\ufeffa red robot\r\n\r\n  # not this\n a  blue\trobot # 2 \n機器人\na red robot".encode())
    assert from_file(path) == ("a red robot", "a blue robot # 2", "機器人", "a red robot")


@pytest.mark.parametrize("header", ["id,Prompt,text", "id, prompt ", "text,prompt", "\ufeffprompt", "TEXT"])
def test_a_table_holds_them_in_a_column(tmp_path: Path, header: str) -> None:
    column = [name.strip("\ufeff ").lower() for name in header.split(",")]
    rows = [
        [f'"a robot, {i}"' if name == ("prompt" if "prompt" in column else "text") else "other" for name in column]
        for i in range(2)
    ]
    path = tmp_path / "prompts.csv"
    path.write_text(
        "\n".join([header, *(",".join(row) for row in rows), ",".join('""' for _ in column)]), encoding="utf-8"
    )
    assert from_file(path) == ("a robot, 0", "a robot, 1")


def test_json_lines_hold_them_under_a_key(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "a red\\nrobot", "text": "other"}\n\n{"Text": "a blue robot"}\n')
    assert from_file(path) == ("a red robot", "a blue robot")


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("p.txt", b"# nothing\n\n", "holds no prompts"),
        ("p.txt", "\u200b\n\u2060 \n".encode(), "holds no prompts"),
        ("p.txt", "ein Männchen".encode("latin-1"), "not UTF-8"),
        ("p.txt", "a robot".encode("utf-16"), "not UTF-8"),
        ("p.xlsx", b"PK", r"only \.txt, \.csv, \.jsonl files are read"),
        ("p.csv", b"", "no column is called prompt or text; there are none"),
        ("p.csv", b"id;prompt\n1;a robot\n", "there are id;prompt"),
        ("p.csv", b'prompt\n"a robot\n', "unexpected end of data"),
        ("p.jsonl", b'{"prompt": "a robot"}\n{"prompt": 7}\n', "line 2"),
        ("p.jsonl", b'{"prompt": ["a robot"]}\n', "line 1"),
        ("p.jsonl", b'["a robot"]\n', "line 1"),
        ("p.jsonl", b'[{"prompt": "a robot"}]\n', r"p\.jsonl: line 1 is no JSON object"),
        ("p.jsonl", b"{", "line 1"),
        ("p.jsonl", b'{"caption": "a robot"}\n', "line 1"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(BadInput, match=said):
        from_file(tmp_path / name)


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="No such file"):
        from_file(tmp_path / "none.txt")
    (tmp_path / "folder.txt").mkdir()
    with pytest.raises(BadInput, match="cannot read"):
        from_file(tmp_path / "folder.txt")


# ---- the one entry


def test_prompts_as_they_are() -> None:
    assert prompts_for("a robot") == ("a robot",)
    assert prompts_for(["a robot", "a toy"]) == ("a robot", "a toy")


def test_prompts_from_each_source(server: StandIn, tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("a robot\na toy\n")
    assert prompts_for([], file=tmp_path / "p.txt") == ("a robot", "a toy")
    assert prompts_for("a robot", expand="templates", count=9) == expand_templates("a robot", 9)
    server.replies = [robots(0, 2), robots(2, 4)]
    assert prompts_for("a robot", expand="openai:llama3.2:3b", count=2, base_url=server.url) == tuple(
        json.loads(robots(0, 2))
    )
    assert (
        prompts_for(["a robot"], expand="anthropic:m", count=2, base_url=server.url, cache=tmp_path / "c.json")[0]
        == "a robot, number 2"
    )
    assert [seen["body"]["model"] for seen in server.seen] == ["llama3.2:3b", "m"] and (tmp_path / "c.json").exists()


@pytest.mark.parametrize(
    ("concepts", "options", "said"),
    [
        ("a robot", {"file": "p.txt"}, "not from both"),
        ([], {"file": "p.txt", "expand": "templates"}, "not from both"),
        (["a", "b"], {"expand": "templates"}, "one concept, and 2"),
        ([], {"expand": "openai:m"}, "one concept, and 0"),
        (
            "a robot",
            {"expand": "template"},
            "'template' is no expansion: say templates, or anthropic:MODEL or openai:MODEL",
        ),
        ("a robot", {"expand": ""}, "is no expansion"),
        ("a robot", {"expand": "openai:"}, "is no expansion"),
        ("a robot", {"base_url": "http://localhost"}, "name the model too"),
        ("a robot", {"expand": "templates", "base_url": "http://localhost"}, "name the model too"),
    ],
)
def test_sources_that_do_not_go_together(concepts: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        prompts_for(concepts, **options)
