"""One question to a language model, with or without pictures, one answer: Anthropic, or any server that speaks OpenAI's
chat completions (llama.cpp, Ollama, vLLM).

Both interfaces were tested against a local stand-in only, never against the services themselves.
"""

import json
import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from sliderspace.core.errors import BadInput, SliderSpaceError
from sliderspace.core.text import one_line
from sliderspace.language.service import Ask, Failure, OtherForm, Refused, Reply, Service, Slow

WAITS = (1.0, 4.0)  # seconds before the second and third try, when a server is busy
LONGEST_WAIT = 30.0  # that a server may ask for
BUSY = {408, 429, 500, 502, 503, 504, 529}
LATER = "Give the same command again later."
CUT_SHORT = {"max_tokens", "length", "model_context_window_exceeded"}
DECLINED = {"refusal", "content_filter"}


def _anthropic() -> Ask:
    from sliderspace.language.anthropic_messages import ask

    return ask


def _openai() -> Ask:
    from sliderspace.language.openai_completions import ask

    return ask


SERVICES = {
    "anthropic": Service("https://api.anthropic.com/v1", "/messages", "ANTHROPIC_API_KEY", _anthropic),
    "openai": Service("https://api.openai.com/v1", "/chat/completions", "OPENAI_API_KEY", _openai),
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
    address = _address(base_url or service.home)
    if provider == "anthropic" and not address.endswith("/v1"):
        raise BadInput("the base URL of a server that speaks Anthropic's messages ends with /v1")
    return Chat(service, model, address, api_key, needs_key=base_url is None, timeout=timeout)


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


@dataclass(frozen=True)
class Chat:
    """A model at an address."""

    service: Service
    model: str
    address: str
    api_key: str | None = field(repr=False)
    needs_key: bool
    timeout: float

    @property
    def url(self) -> str:
        return self.address + self.service.path

    def ask(self, question: str, pictures: Sequence[bytes] = ()) -> str:
        """The answer's text; `pictures` are PNG files. A busy server is tried three times.

        Raises BadInput when there is no key, or no library for the service; SliderSpaceError when the server cannot be
        reached, refuses, is too slow, or its answer is cut short, declined or not of the interface's form.
        """
        key = self._key()
        try:
            reply = self._answered(question, pictures, key)
        except Failure as failure:
            raise self._explained(failure, key) from None
        if reply.ending in CUT_SHORT:
            raise SliderSpaceError(
                f"{self.model} ran out of room before its answer was whole.\nName a model that may write more."
            )
        if reply.ending in DECLINED:
            raise SliderSpaceError(f"{self.model} declined: {short(reply.text) or 'it gave no reason'}")
        return reply.text

    def _key(self) -> str:
        key = (self.api_key or os.environ.get(self.service.key_name, "")).strip()
        if not key and self.needs_key:
            raise BadInput(
                f"{self.url} needs a key: set {self.service.key_name}, or name a server of your own as the base URL"
            )
        if not re.fullmatch(r"[!-~]*", key):  # an error of the HTTP library would print it
            raise BadInput(f"{self.service.key_name} holds characters that no key has: copy it again")
        return key

    def _answered(self, question: str, pictures: Sequence[bytes], key: str) -> Reply:
        """After up to three tries, the same for both services; their libraries' own are turned off."""
        ask = self.service.load()
        pauses = iter(WAITS)
        while True:
            try:
                return ask(question, pictures, model=self.model, address=self.address, key=key, timeout=self.timeout)
            except Refused as refused:
                pause = next(pauses, None)
                if refused.status not in BUSY or pause is None or (refused.wait or 0) > LONGEST_WAIT:
                    raise
                time.sleep(pause if refused.wait is None else refused.wait)

    def _explained(self, failure: Failure, key: str) -> SliderSpaceError:
        said = _said(failure.said, key)
        if isinstance(failure, Slow):
            return SliderSpaceError(f"{self.url} gave no answer for {self.timeout:g} s.\n{LATER}")
        if isinstance(failure, OtherForm):
            return SliderSpaceError(
                f"{self.url} answered in another form than {self.service.path}: {said}\nCheck the base URL."
            )
        if not isinstance(failure, Refused):
            return SliderSpaceError(
                f"{self.url} cannot be reached: {said}\nIs the server running, and the address right?"
            )
        hint = "Check the model's name and the base URL."
        if failure.status in BUSY:
            hint = LATER
        elif failure.status in (401, 403):
            hint = f"Check {self.service.key_name}."
        return SliderSpaceError(f"{self.url} refused ({failure.status}){': ' * bool(said)}{said}\n{hint}")


def _said(text: str, key: str) -> str:
    """The error message in what a server wrote, never the key."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        data = text
    for name in ("error", "message"):
        data = data.get(name, data) if isinstance(data, dict) else data
    found = data if isinstance(data, str) else json.dumps(data)
    return short(found.replace(key, "(key)") if key else found)


def short(text: str) -> str:
    """The beginning of what a stranger wrote, fit for one line of a terminal."""
    line = one_line(text)
    return line if len(line) <= 200 else f"{line[:200]}…"
