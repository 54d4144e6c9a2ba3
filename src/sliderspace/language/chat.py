"""One question to a language model, one answer: Anthropic, or any server that speaks OpenAI's chat completions
(llama.cpp, Ollama, vLLM).

Plain HTTP of the standard library, since what huggingface_hub brings (httpx or httpx2) changes with its version. Both
interfaces were tested against a local stand-in only, never against the services themselves.
"""

import json
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

from sliderspace.core.errors import BadInput, SliderSpaceError

WAITS = (1.0, 4.0)  # seconds before the second and third try, when a server is busy
LONGEST_WAIT = 30.0  # that a server may ask for
BUSY = {408, 429, 500, 502, 503, 504, 529}
LATER = "Give the same command again later."
LARGEST = 4 * 2**20  # bytes of an answer
CUT_SHORT = {"max_tokens", "length", "model_context_window_exceeded"}
DECLINED = {"refusal", "content_filter"}


@dataclass(frozen=True)
class Service:
    """How one interface is spoken. `read` takes the text, and why it ended, from the answer's JSON."""

    home: str
    path: str
    key_name: str  # the environment variable
    key_header: str
    read: Callable[[Any], tuple[object, object]]
    headers: dict[str, str] = field(default_factory=dict[str, str])
    extra: dict[str, object] = field(default_factory=dict[str, object])


def _read_anthropic(data: Any) -> tuple[object, object]:
    return "".join(block["text"] for block in data["content"] if block["type"] == "text"), data.get("stop_reason")


def _read_openai(data: Any) -> tuple[object, object]:
    choice = data["choices"][0]
    return choice["message"]["content"] or "", choice.get("finish_reason")


SERVICES = {
    "anthropic": Service(
        home="https://api.anthropic.com/v1",
        path="/messages",
        key_name="ANTHROPIC_API_KEY",
        key_header="x-api-key: {}",
        read=_read_anthropic,
        headers={"anthropic-version": "2023-06-01"},
        extra={"max_tokens": 8192},
    ),
    # No token limit here: OpenAI's newer models refuse `max_tokens`, and local servers do not all know what replaced
    # it.
    "openai": Service(
        home="https://api.openai.com/v1",
        path="/chat/completions",
        key_name="OPENAI_API_KEY",
        key_header="Authorization: Bearer {}",
        read=_read_openai,
    ),
}


def open_chat(
    provider: str, model: str, *, base_url: str | None = None, api_key: str | None = None, timeout: float = 180.0
) -> "Chat":
    """A chat with `model`; nothing is sent yet. `provider` is "anthropic" or "openai", `timeout` in seconds without a
    word from the server.

    `base_url` is another server: http://host:port, or all that stands before /messages or /chat/completions. The key is
    ANTHROPIC_API_KEY or OPENAI_API_KEY unless given; it goes to that server and nowhere else, and one's own server may
    need none. Raises BadInput for an unknown provider, a missing model or an unusable address.
    """
    service = SERVICES.get(provider)
    if service is None or not model:
        raise BadInput(
            f"'{provider}:{model}' is no language model: say {' or '.join(f'{name}:MODEL' for name in SERVICES)}"
        )
    url = _address(base_url or service.home) + service.path
    return Chat(service, model, url, api_key, needs_key=base_url is None, timeout=timeout)


def _address(base_url: str) -> str:
    """The address without a slash at its end, with /v1 if it has no path."""
    try:
        parts = urlsplit(base_url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise BadInput("the base URL is no web address such as http://localhost:8000/v1") from None
    if parts.username or parts.password or parts.query or parts.fragment:  # it would be stored beside the prompts
        raise BadInput(
            "a base URL holds no user, password or query: a key belongs in ANTHROPIC_API_KEY or OPENAI_API_KEY"
        )
    if not usable or re.search(r"[^!-~]", base_url):
        raise BadInput(f"the base URL '{base_url}' is no web address such as http://localhost:8000/v1")
    path = parts.path.rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path or '/v1'}"


class _Busy(Exception):
    """The server may answer if asked again; `wait` in seconds if it said when."""

    def __init__(self, failure: SliderSpaceError, wait: float | None) -> None:
        super().__init__()
        self.failure, self.wait = failure, wait


@dataclass(frozen=True)
class Chat:
    """A model at an address."""

    service: Service
    model: str
    url: str
    api_key: str | None = field(repr=False)
    needs_key: bool
    timeout: float

    def ask(self, question: str) -> str:
        """The answer's text. A busy server is tried three times.

        Raises BadInput when there is no key; SliderSpaceError when the server cannot be reached, refuses, is too slow,
        or its answer is cut short, declined or not of the interface's form.
        """
        content = {"model": self.model, "messages": [{"role": "user", "content": question}], **self.service.extra}
        key = self._key()
        data = self._answered(json.dumps(content).encode(), key)
        try:
            text, ending = self.service.read(data)
        except (KeyError, IndexError, TypeError, AttributeError):
            text, ending = None, None
        if not isinstance(text, str):
            raise SliderSpaceError(
                f"{self.url} answered in another form than {self.service.path}: {_said(data, key)}\nCheck the base URL."
            )
        if ending in CUT_SHORT:
            raise SliderSpaceError(
                f"{self.model} ran out of room before its answer was whole.\nName a model that may write more."
            )
        if ending in DECLINED:
            raise SliderSpaceError(f"{self.model} declined: {short(text) or 'it gave no reason'}")
        return text

    def _key(self) -> str:
        key = (self.api_key or os.environ.get(self.service.key_name, "")).strip()
        if not key and self.needs_key:
            raise BadInput(
                f"{self.url} needs a key: set {self.service.key_name}, or name a server of your own as the base URL"
            )
        if not re.fullmatch(r"[!-~]*", key):  # an error of the HTTP library would print it
            raise BadInput(f"{self.service.key_name} holds characters that no key has: copy it again")
        return key

    def _answered(self, body: bytes, key: str) -> Any:
        """The answer's JSON, after up to three tries."""
        pauses = iter(WAITS)
        while True:
            try:
                return self._once(body, key)
            except _Busy as busy:
                pause = next(pauses, None)
                if pause is None or (busy.wait or 0) > LONGEST_WAIT:
                    raise busy.failure from None
                time.sleep(pause if busy.wait is None else busy.wait)

    def _once(self, body: bytes, key: str) -> Any:
        headers = {"Content-Type": "application/json", "User-Agent": "sliderspace", **self.service.headers}
        request = urllib.request.Request(self.url, body, headers)
        if key:
            request.add_header(*self.service.key_header.format(key).split(": "))
        try:
            with urllib.request.build_opener(_NoRedirect).open(request, timeout=self.timeout) as response:
                return _json(response.read(LARGEST))
        except urllib.error.HTTPError as error:
            with error:
                raise self._refused(error, key) from None
        except (OSError, HTTPException, UnicodeError) as error:  # a host name may be unusable too
            raise self._unreached(getattr(error, "reason", error)) from None

    def _unreached(self, reason: object) -> SliderSpaceError:
        if isinstance(reason, TimeoutError):
            return SliderSpaceError(f"{self.url} gave no answer for {self.timeout:g} s.\n{LATER}")
        return SliderSpaceError(
            f"{self.url} cannot be reached: {short(str(reason))}\nIs the server running, and the address right?"
        )

    def _refused(self, error: urllib.error.HTTPError, key: str) -> Exception:
        try:
            said = _said(_json(error.read(LARGEST)), key)
        except (OSError, HTTPException):
            said = ""
        busy, no_entry = error.code in BUSY, error.code in (401, 403)
        hint = (
            LATER
            if busy
            else f"Check {self.service.key_name}."
            if no_entry
            else "Check the model's name and the base URL."
        )
        failure = SliderSpaceError(f"{self.url} refused ({error.code}){': ' * bool(said)}{said}\n{hint}")
        return _Busy(failure, _seconds(error.headers.get("Retry-After"))) if busy else failure


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is an error: following it would send the key to another server."""

    def redirect_request(self, req: object, fp: object, code: int, msg: str, headers: object, newurl: str) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        return None


def _json(data: bytes) -> Any:
    """The JSON of an answer, or its text if it is none."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return data.decode(errors="replace")


def _said(data: Any, key: str) -> str:
    """The error message in an answer, never the key."""
    for name in ("error", "message"):
        data = data.get(name, data) if isinstance(data, dict) else data
    text = data if isinstance(data, str) else json.dumps(data)
    return short(text.replace(key, "(key)") if key else text)


def short(text: str) -> str:
    """The beginning of what a stranger wrote, fit for one line of a terminal."""
    line = " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", " ", text).split())
    return line if len(line) <= 200 else f"{line[:200]}…"


def _seconds(text: str | None) -> float | None:
    return float(text) if text and re.fullmatch(r"\d{1,6}(\.\d+)?", text) else None
