"""A local server that speaks both interfaces of language models over real HTTP, as the services would."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from sliderspace.language import chat

KEY = "sk-stand-in-0123456789"
BOTH = pytest.mark.parametrize("provider", ["anthropic", "openai"])


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
                self.send_header("Content-Type", "text/html" if isinstance(said, str) else "application/json")
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
            self.let_go.wait(60)
            reply = "[]"
        return (200, answer(path, reply), {}) if isinstance(reply, str) else (*reply, {})[:3]

    def questions(self) -> list[str]:
        return [seen["body"]["messages"][0]["content"] for seen in self.seen]

    def keys(self) -> list[str]:
        """The key in each request, whichever header the library of the day puts it in."""
        headers = [{k.lower(): v for k, v in seen["headers"].items()} for seen in self.seen]
        return [h.get("x-api-key") or h.get("authorization", "").removeprefix("Bearer ") for h in headers]

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


def answer(path: str, text: str, *, ending: str | None = None) -> dict[str, Any]:
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


@contextmanager
def serving(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """A stand-in with a key for each service in the environment, and short pauses."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)  # it forbids this machine's own servers too
    monkeypatch.setattr(chat, "WAITS", (0.01, 0.02))
    monkeypatch.setenv("no_proxy", "*")
    for service in chat.SERVICES.values():
        monkeypatch.setenv(service.key_name, KEY)
    made = StandIn()
    try:
        yield made
    finally:
        made.close()
