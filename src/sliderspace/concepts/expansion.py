"""A concept -> many prompts of it, written by a language model, kept beside the run."""

import json
import math
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeGuard, cast

from sliderspace.concepts.templates import COUNT, checked_concept
from sliderspace.core.errors import BadInput, DamagedFile, SliderSpaceError
from sliderspace.core.text import is_blank, one_line
from sliderspace.language.answers import data_in
from sliderspace.language.chat import open_chat, short
from sliderspace.storage.files import fingerprint, is_done, load_json, save_json

MOST = 1000  # prompts of one expansion: more is a typing error, and each call costs money


# ---- from a language model

BATCH = 40  # prompts a call: an answer of about 2,000 tokens


SPARE_CALLS = 3  # beyond those needed if every answer were whole and new


SHOWN = 100  # of the prompts there already, told to the model: a local one may read only a few thousand tokens


INSTRUCTION = """Write {count} different prompts for a text-to-image model, in the language of this concept: {concept}
Every prompt must show that concept. Between them they should cover as widely as possible what a picture of it can be: \
kinds and looks of the thing itself, viewpoint, setting, mood, medium, light, composition. At most 30 words each.
Answer with a JSON array of {count} strings and nothing else."""


BESIDES = "\nThese are there already; write others: {had}"


@dataclass(frozen=True)
class Expansion:
    """What a model made of a concept: `received` texts in all, of which `prompts` are kept; `calls` made now, 0 if all
    were cached."""

    prompts: tuple[str, ...]
    asked: int
    received: int
    calls: int


def expand_with_model(
    concept: str,
    count: int = COUNT,
    *,
    provider: str,
    model: str,
    base_url: str | None = None,
    api_key: str | None = None,
    cache: Path | None = None,
    timeout: float = 180.0,
) -> Expansion:
    """`count` different prompts written by a language model, asked again for those missing. What it gave is kept in
    `cache` (JSON).

    The model, server, key and time limit are those of `chat.open_chat`; the key is never stored. The same request is
    never made twice: a cache with all prompts needs no call and no key, and one cut short is filled up. The cache's
    folder must be there.

    Raises BadInput for an unusable request or a missing key; SliderSpaceError when a call fails, the answer is no JSON
    list of texts, or too few prompts differ. There is no falling back to templates.
    """
    concept = checked_concept(concept)
    chat = open_chat(provider, model, base_url=base_url, api_key=api_key, timeout=timeout)
    if not 1 <= count <= MOST:
        raise BadInput(f"a language model is asked for 1 to {MOST} prompts, not {count}")
    if cache is not None and not cache.parent.is_dir():  # before a call is paid for
        raise BadInput(f"there is no folder {cache.parent} to keep the prompts in")
    asked = {
        "provider": provider,
        "model": model,
        "url": chat.url,
        "instruction": INSTRUCTION,
        "concept": concept,
        "count": count,
    }
    identity = fingerprint(**asked)
    kept, received = _cached(cache, identity, count)
    most, calls = math.ceil((count - len(kept)) / BATCH) + SPARE_CALLS, 0
    while len(kept) < count and calls < most:
        answer = _texts(chat.ask(_question(concept, min(BATCH, count - len(kept)), kept)), model)
        kept, received, calls = _different([*kept, *answer])[:count], received + len(answer), calls + 1
        if cache is not None:
            stored = {
                **asked,
                "date": f"{datetime.now(UTC):%Y-%m-%d}",
                "received": received,
                "kept": len(kept),
                "prompts": kept,
            }
            save_json(cache, stored, kind="prompts", fingerprint=identity)
    if len(kept) < count:
        raise SliderSpaceError(
            f"{model} gave {len(kept)} different prompts of the {count} asked for ({received} received).\n"
            "Ask for fewer, name another model, or give the same command again to ask for the rest."
        )
    return Expansion(tuple(kept), count, received, calls)


def _question(concept: str, count: int, had: Sequence[str]) -> str:
    text = INSTRUCTION.format(count=count, concept=json.dumps(concept, ensure_ascii=False))
    return text + BESIDES.format(had=json.dumps(had[-SHOWN:], ensure_ascii=False)) if had else text


def _cached(cache: Path | None, identity: str, count: int) -> tuple[list[str], int]:
    """Up to `count` prompts of an earlier run of this very request, and how many texts that received; none if there was
    none."""
    if cache is None or not is_done(cache, identity):
        return [], 0
    stored = load_json(cache, kind="prompts")
    prompts, received = stored.get("prompts"), stored.get("received")
    if not _is_texts(prompts) or not isinstance(received, int):
        raise DamagedFile(f"{cache} does not hold a list of prompts.\nDelete it and give the same command again.")
    return _different(prompts)[:count], received


def _texts(answer: str, model: str) -> list[str]:
    """The JSON array of strings in an answer; SliderSpaceError where there is none."""
    found = data_in(answer, "[]")
    if not _is_texts(found):
        raise SliderSpaceError(
            f"{model} did not answer with a JSON list of texts but with: {short(answer) or 'nothing'}\n"
            "Give the same command again, or name another model."
        )
    return found


def _is_texts(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(item, str) for item in cast("list[object]", value))


def _different(texts: Iterable[str]) -> list[str]:
    """The first of those that differ in more than case, spaces and punctuation; empty ones dropped."""
    first: dict[str, str] = {}
    for text in map(one_line, texts):
        letters = unicodedata.normalize("NFKC", text).casefold()
        plain = "".join(c for c in letters if unicodedata.category(c)[0] not in "PZ" and not is_blank(c))
        if plain:
            first.setdefault(plain, text)
    return list(first.values())
