"""Prompts from files, templates and language models. The models are a local stand-in that speaks both interfaces over
real HTTP."""

import json
import math
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from sliderspace.concepts.expansion import MOST, Expansion, expand_with_model
from sliderspace.concepts.files import from_file
from sliderspace.concepts.prompts import prompts_for
from sliderspace.concepts.templates import COMBINATIONS, WORDS, expand_templates
from sliderspace.core.errors import BadInput, DamagedFile, SliderSpaceError
from sliderspace.language import chat

KEY = "sk-stand-in-0123456789"
BOTH = pytest.mark.parametrize("provider", ["anthropic", "openai"])


# ---- the stand-in


class StandIn:
    """Gives the scripted `replies` in turn: a text as a model's answer, or (status, JSON or text, headers). Keeps what
    it was sent."""

    def __init__(self) -> None:
        self.replies: list[Any] = []
        self.seen: list[dict[str, Any]] = []
        self.let_go = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.seen.append({"path": self.path, "headers": dict(self.headers), "body": body})
                status, said, headers = outer.reply(self.path, {k.lower(): v for k, v in self.headers.items()}, body)
                data = said.encode() if isinstance(said, str) else json.dumps(said).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def reply(self, path: str, headers: dict[str, str], body: dict[str, Any]) -> tuple[int, Any, dict[str, str]]:
        """The next reply, if the request is one that the real services would take."""
        if fault := _fault(path, headers, body):
            return 400, {"error": {"message": fault}}, {}
        reply = self.replies.pop(0)
        if reply == "slow":
            self.let_go.wait(10)
            reply = "[]"
        return (200, _answer(path, reply), {}) if isinstance(reply, str) else (*reply, {})[:3]

    def questions(self) -> list[str]:
        return [seen["body"]["messages"][0]["content"] for seen in self.seen]

    def close(self) -> None:
        self.let_go.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def _fault(path: str, headers: dict[str, str], body: dict[str, Any]) -> str | None:
    roles = [message["role"] for message in body["messages"]]
    if headers["content-type"] != "application/json" or roles != ["user"] or not body["model"]:
        return "not a question"
    if path == "/v1/messages":
        return (
            None
            if "anthropic-version" in headers and body["max_tokens"] > 0
            else "anthropic-version and max_tokens are required"
        )
    if path == "/v1/chat/completions":
        return "Unsupported parameter: 'max_tokens'" if "max_tokens" in body else None
    return f"no such path: {path}"


def _answer(path: str, text: str, *, ending: str | None = None) -> dict[str, Any]:
    if path == "/v1/messages":
        content = [
            {"type": "thinking", "thinking": "[hm]"},
            {"type": "text", "text": text[:5]},
            {"type": "text", "text": text[5:]},
        ]
        return {"type": "message", "role": "assistant", "content": content, "stop_reason": ending or "end_turn"}
    return {
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": ending or "stop"}]
    }


PATHS = {"anthropic": "/v1/messages", "openai": "/v1/chat/completions"}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    monkeypatch.setattr(chat, "WAITS", (0.01, 0.02))
    monkeypatch.setenv("no_proxy", "*")
    for service in chat.SERVICES.values():
        monkeypatch.setenv(service.key_name, KEY)
    made = StandIn()
    yield made
    made.close()


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
    name, value = ("x-api-key", KEY) if provider == "anthropic" else ("authorization", f"Bearer {KEY}")
    assert {k.lower(): v for k, v in seen["headers"].items()}[name] == value
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
    mixed = ["A robot, red.", "a  ROBOT red", "a robot (red)", "", "!?", "a robot, blue"]
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


@BOTH
def test_a_refused_key_is_named_but_not_shown(server: StandIn, provider: str) -> None:
    server.replies = [(401, {"error": {"message": f"Incorrect API key provided: {KEY}."}})]
    with pytest.raises(SliderSpaceError) as caught:
        ask(server, 3, provider)
    assert "(401): Incorrect API key provided: (key)." in str(caught.value)
    assert chat.SERVICES[provider].key_name in str(caught.value) and KEY not in repr(caught.value)
    assert len(server.seen) == 1


@pytest.mark.parametrize("status", [429, 500, 503, 529])
@BOTH
def test_a_busy_server_is_tried_again(server: StandIn, provider: str, status: int) -> None:
    server.replies = [
        (status, {"error": {"message": "busy"}}, {"Retry-After": "0"}),
        (status, "<html>busy</html>"),
        robots(0, 3),
    ]
    assert ask(server, 3, provider).calls == 1
    assert len(server.seen) == 3


def test_the_pauses_are_those_set_or_those_the_server_asks_for(
    server: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(chat, "WAITS", (1.0, 4.0))
    monkeypatch.setattr(time, "sleep", slept.append)
    server.replies = [(429, {}), (429, {}, {"Retry-After": "7"}), robots(0, 1)]
    ask(server, 1)
    assert slept == [1.0, 7.0]


@BOTH
def test_a_server_that_stays_busy_is_an_error_after_three_tries(server: StandIn, provider: str) -> None:
    server.replies = [(500, {"error": {"message": "overheated"}})] * 3
    with pytest.raises(SliderSpaceError, match=r"\(500\): overheated\nGive the same command again later"):
        ask(server, 3, provider)
    assert len(server.seen) == 3


def test_nobody_waits_an_hour(server: StandIn) -> None:
    server.replies = [(429, {"error": {"message": "come back in an hour"}}, {"Retry-After": "3600"})]
    with pytest.raises(SliderSpaceError, match="come back in an hour"):
        ask(server, 3)
    assert len(server.seen) == 1


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


@pytest.mark.parametrize(
    ("ending", "said"),
    [
        ("max_tokens", "ran out of room"),
        ("length", "ran out of room"),
        ("refusal", "declined: no"),
        ("content_filter", "declined: no"),
    ],
)
@BOTH
def test_an_answer_that_ended_badly_is_an_error(server: StandIn, provider: str, ending: str, said: str) -> None:
    server.replies = [(200, _answer(PATHS[provider], "no", ending=ending))]
    with pytest.raises(SliderSpaceError, match=said):
        ask(server, 3, provider)


@pytest.mark.parametrize(
    "body", [{"error": {"message": "no credit"}}, {"error": "no credit"}, "no credit", {"choices": [], "content": 1}]
)
@BOTH
def test_an_answer_of_another_form_is_an_error(server: StandIn, provider: str, body: Any) -> None:
    server.replies = [(200, body)]
    with pytest.raises(SliderSpaceError, match=r"another form than /.*(no credit|choices)"):
        ask(server, 3, provider)


@BOTH
def test_a_slow_server_is_given_up(server: StandIn, provider: str) -> None:
    server.replies = ["slow"]
    started = time.monotonic()
    with pytest.raises(SliderSpaceError, match=r"no answer for 0\.3 s"):
        ask(server, 3, provider, timeout=0.3)
    assert time.monotonic() - started < 5 and len(server.seen) == 1


def test_no_server_at_all_is_one_clear_error(server: StandIn) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(SliderSpaceError, match=r"cannot be reached: .*refused.*\nIs the server running"):
        ask(server, 3, base_url=f"http://127.0.0.1:{port}")


def test_a_key_does_not_follow_a_redirect(server: StandIn) -> None:
    elsewhere = StandIn()
    elsewhere.replies = [robots(0, 3)]
    try:
        server.replies = [(code, "", {"Location": f"{elsewhere.url}/v1/chat/completions"}) for code in (302, 307)]
        for code in (302, 307):
            with pytest.raises(SliderSpaceError, match=f"refused \\({code}\\)"):
                ask(server, 3)
        assert not elsewhere.seen
    finally:
        elsewhere.close()


def test_an_error_page_cannot_write_to_the_terminal(server: StandIn) -> None:
    server.replies = [(404, "\x1b[2J\x07no\nsuch model " + "x" * 5000)]
    with pytest.raises(SliderSpaceError) as caught:
        ask(server, 3)
    lines = str(caught.value).splitlines()
    assert len(lines) == 2 and len(lines[0]) < 300 and "no such model" in lines[0] and "\x1b" not in lines[0]


# ---- keys and addresses


def test_a_service_needs_its_key_and_a_server_of_ones_own_does_not(
    server: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    for provider, service in chat.SERVICES.items():
        monkeypatch.delenv(service.key_name)
        with pytest.raises(BadInput, match=f"needs a key: set {service.key_name}"):
            expand_with_model("a robot", 3, provider=provider, model="m")
    server.replies = [robots(0, 1)]
    ask(server, 1)
    assert "Authorization" not in server.seen[0]["headers"]


@pytest.mark.parametrize("key", ["sk-half\nX-Other: 1", "sk-ключ", "sk two"])
def test_a_broken_key_is_neither_sent_nor_shown(server: StandIn, key: str) -> None:
    with pytest.raises(BadInput) as caught:
        ask(server, 3, api_key=key)
    assert key not in str(caught.value) and not server.seen


def test_a_chat_does_not_print_its_key() -> None:
    assert KEY not in repr(chat.open_chat("openai", "m", api_key=KEY))


@pytest.mark.parametrize(
    ("base_url", "url"),
    [
        (None, "https://api.openai.com/v1/chat/completions"),
        ("http://localhost:11434", "http://localhost:11434/v1/chat/completions"),
        ("http://localhost:8000/v1/", "http://localhost:8000/v1/chat/completions"),
        ("https://example.org/api/v2", "https://example.org/api/v2/chat/completions"),
        ("http://[::1]:8080", "http://[::1]:8080/v1/chat/completions"),
    ],
)
def test_where_a_question_goes(base_url: str | None, url: str) -> None:
    assert chat.open_chat("openai", "m", base_url=base_url).url == url


@pytest.mark.parametrize(
    "base_url",
    ["localhost:8000", "file:///etc/passwd", "ftp://example.org", "http://", "http://host:99999", "http://a b", "http://h\r\nX: 1", "http://[",
     "https://user:secret@example.org/v1", "https://user:secret@example.org:99999", "https://example.org/v1?key=secret"],
)  # fmt: skip
def test_an_unusable_address_is_refused_and_no_secret_in_it_shown(base_url: str) -> None:
    with pytest.raises(BadInput, match="base URL") as caught:
        chat.open_chat("openai", "m", base_url=base_url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(("concept", "count"), [(" ", 3), ("a robot", 0), ("a robot", MOST + 1)])
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
    with pytest.raises(BadInput, match="empty"):
        expand_templates(" ", 3)


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
        ("p.txt", "ein Männchen".encode("latin-1"), "not UTF-8"),
        ("p.txt", "a robot".encode("utf-16"), "not UTF-8"),
        ("p.xlsx", b"PK", r"read from \.txt, \.csv, \.jsonl files"),
        ("p.csv", b"", "no column is called prompt or text; there are none"),
        ("p.csv", b"id;prompt\n1;a robot\n", "there are id;prompt"),
        ("p.csv", b'prompt\n"a robot\n', "unexpected end of data"),
        ("p.jsonl", b'{"prompt": "a robot"}\n{"prompt": 7}\n', "line 2"),
        ("p.jsonl", b'["a robot"]\n', "line 1"),
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
