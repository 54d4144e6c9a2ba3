"""One question, one answer, through the real libraries of both services, from a local server."""

import base64
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from support.language_server import BOTH, KEY, PATHS, StandIn, answer, serving

from sliderspace.core.errors import BadInput, SliderSpaceError
from sliderspace.language import chat

PNG = b"\x89PNG of a robot"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    with serving(monkeypatch) as made:
        yield made


def ask(server: StandIn, provider: str = "openai", pictures: Any = (), **more: Any) -> str:
    opened = chat.open_chat(provider, "stand-in", **{"base_url": server.url, **more})
    return opened.ask("what is this?", pictures)


# ---- an answer


@BOTH
def test_a_question_is_answered(server: StandIn, provider: str) -> None:
    server.replies = ["a small robot"]
    assert ask(server, provider) == "a small robot"
    (seen,) = server.seen
    assert (seen["path"], seen["body"]["model"]) == (PATHS[provider], "stand-in")
    assert server.keys() == [KEY] and server.questions() == ["what is this?"]


@BOTH
def test_pictures_go_with_the_question(server: StandIn, provider: str) -> None:
    server.replies = ["two robots"]
    assert ask(server, provider, [PNG, PNG]) == "two robots"
    (content,) = server.questions()
    data = base64.b64encode(PNG).decode()
    picture: dict[str, Any] = {
        "anthropic": {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}},
        "openai": {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}},
    }[provider]
    assert content == [picture, picture, {"type": "text", "text": "what is this?"}]


def test_without_the_library_one_says_how_to_get_it(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "anthropic", None)
    with pytest.raises(BadInput, match=r"pip install 'sliderspace\[label\]'"):
        ask(server, "anthropic")


def test_offline_mode_is_named(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(BadInput, match="HF_HUB_OFFLINE"):
        ask(server)


# ---- failures


@BOTH
def test_a_refused_key_is_named_but_not_shown(server: StandIn, provider: str) -> None:
    server.replies = [(401, {"error": {"message": f"Incorrect API key provided: {KEY}."}})]
    with pytest.raises(SliderSpaceError) as caught:
        ask(server, provider)
    assert "(401): Incorrect API key provided: (key)." in str(caught.value)
    assert chat.SERVICES[provider].key_name in str(caught.value) and KEY not in repr(caught.value)
    assert len(server.seen) == 1


@pytest.mark.parametrize("status", [429, 500, 503, 529])
@BOTH
def test_a_busy_server_is_tried_again(server: StandIn, provider: str, status: int) -> None:
    server.replies = [
        (status, {"error": {"message": "busy"}}, {"Retry-After": "0"}),
        (status, "<html>busy</html>"),
        "a robot",
    ]
    assert ask(server, provider) == "a robot"
    assert len(server.seen) == 3


def test_the_pauses_are_those_set_or_those_the_server_asks_for(
    server: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(chat, "WAITS", (1.0, 4.0))
    monkeypatch.setattr(time, "sleep", slept.append)
    server.replies = [(429, {}), (429, {}, {"Retry-After": "7"}), "a robot"]
    ask(server)
    assert slept == [1.0, 7.0]


@BOTH
def test_a_server_that_stays_busy_is_an_error_after_three_tries(server: StandIn, provider: str) -> None:
    server.replies = [(500, {"error": {"message": "overheated"}})] * 3
    with pytest.raises(SliderSpaceError, match=r"\(500\): overheated\nGive the same command again later"):
        ask(server, provider)
    assert len(server.seen) == 3


def test_nobody_waits_an_hour(server: StandIn) -> None:
    server.replies = [(429, {"error": {"message": "come back in an hour"}}, {"Retry-After": "3600"})]
    with pytest.raises(SliderSpaceError, match="come back in an hour"):
        ask(server)
    assert len(server.seen) == 1


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
    server.replies = [(200, answer(PATHS[provider], "no", ending=ending))]
    with pytest.raises(SliderSpaceError, match=said):
        ask(server, provider)


@pytest.mark.parametrize(
    "body", [{"error": {"message": "no credit"}}, {"error": "no credit"}, "no credit", {"choices": [], "content": 1}]
)
@BOTH
def test_an_answer_of_another_form_is_an_error(server: StandIn, provider: str, body: Any) -> None:
    server.replies = [(200, body)]
    with pytest.raises(SliderSpaceError, match=r"another form than /.*(no credit|choices)"):
        ask(server, provider)


@BOTH
def test_a_slow_server_is_given_up(server: StandIn, provider: str) -> None:
    server.replies = ["slow"]
    started = time.monotonic()
    with pytest.raises(SliderSpaceError, match=r"no answer for 0\.3 s"):
        ask(server, provider, timeout=0.3)
    assert time.monotonic() - started < 30 and len(server.seen) == 1


def test_no_server_at_all_is_one_clear_error(server: StandIn) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(SliderSpaceError, match=r"cannot be reached: .*refused.*\nIs the server running"):
        ask(server, base_url=f"http://127.0.0.1:{port}")


@BOTH
@pytest.mark.parametrize("code", [302, 307])
def test_a_key_does_not_follow_a_redirect(server: StandIn, provider: str, code: int) -> None:
    """Anthropic's library follows none; the other follows without the key."""
    elsewhere = StandIn()
    elsewhere.replies = ["a robot"]
    try:
        server.replies = [(code, "", {"Location": f"{elsewhere.url}{PATHS[provider]}"})]
        with suppress(SliderSpaceError):
            ask(server, provider)
        assert server.keys() == [KEY] and KEY not in str(elsewhere.seen)
        assert provider == "openai" or not elsewhere.seen
    finally:
        elsewhere.close()


def test_an_error_page_cannot_write_to_the_terminal(server: StandIn) -> None:
    server.replies = [(404, "\x1b[2J\x07no\nsuch model " + "x" * 5000)]
    with pytest.raises(SliderSpaceError) as caught:
        ask(server)
    lines = str(caught.value).splitlines()
    assert len(lines) == 2 and len(lines[0]) < 300 and "no such model" in lines[0] and "\x1b" not in lines[0]


# ---- keys and addresses


def test_a_service_needs_its_key_and_a_server_of_ones_own_does_not(
    server: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    for provider, service in chat.SERVICES.items():
        monkeypatch.delenv(service.key_name)
        with pytest.raises(BadInput, match=f"needs a key: set {service.key_name}"):
            chat.open_chat(provider, "m").ask("?")
    # Both libraries would look for a key of their own elsewhere, and send it.
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "secret")
    server.replies = ["a robot", "a robot"]
    for provider in chat.SERVICES:
        ask(server, provider)
    assert server.keys() == ["none", "none"] and "secret" not in str(server.seen)


@pytest.mark.parametrize("key", ["sk-half\nX-Other: 1", "sk-ключ", "sk two"])
def test_a_broken_key_is_neither_sent_nor_shown(server: StandIn, key: str) -> None:
    with pytest.raises(BadInput) as caught:
        ask(server, api_key=key)
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
