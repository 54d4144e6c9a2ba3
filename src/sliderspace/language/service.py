"""What an adapter of a language model's library answers, and how it fails."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Reply:
    """The answer's text, and why it ended, in the service's own word."""

    text: str
    ending: str | None


class Ask(Protocol):
    """One question with PNG pictures to `model` at `address`; raises Failure."""

    def __call__(
        self, question: str, pictures: Sequence[bytes], *, model: str, address: str, key: str, timeout: float
    ) -> Reply: ...


@dataclass(frozen=True)
class Service:
    """How one interface is spoken: its own server, what follows an address in its URL, the variable of its key."""

    home: str
    path: str
    key_name: str
    load: Callable[[], Ask]  # imports the library


class Failure(Exception):
    """No answer. `said` is what the server or the library wrote about it."""

    def __init__(self, said: str) -> None:
        super().__init__(said)
        self.said = said


class Slow(Failure):
    """No word from the server within the time limit."""


class Unreached(Failure):
    """No server, or the connection broke."""


class OtherForm(Failure):
    """An answer that is not of the interface's form."""


class Refused(Failure):
    """An HTTP status that is no success; `wait` in seconds if the server said when to ask again."""

    def __init__(self, said: str, status: int, wait: str | None) -> None:
        super().__init__(said)
        self.status = status
        self.wait = float(wait) if wait and wait.replace(".", "", 1).isdecimal() and len(wait) < 9 else None
