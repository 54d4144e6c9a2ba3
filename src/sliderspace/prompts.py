"""Concept → prompts: as given, from a file, from templates (offline), or from a language model.

Like `chat`, which it asks through, the last was tested against a local stand-in only, never against the services themselves.
"""

import csv
import json
import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeGuard, cast

from sliderspace.chat import SERVICES, open_chat, short
from sliderspace.errors import BadInput, DamagedFile, SliderSpaceError
from sliderspace.store import fingerprint, is_done, load_json, save_json

COUNT = 50
MOST = 1000  # prompts of one expansion: more is a typing error, and each call costs money
COLUMNS = ("prompt", "text")


def prompts_for(
    concepts: str | Sequence[str],
    *,
    file: str | Path | None = None,
    expand: str | None = None,
    count: int = COUNT,
    base_url: str | None = None,
    cache: Path | None = None,
) -> tuple[str, ...]:
    """The prompts of a discovery: `concepts` as they are; or those of `file`; or `count` made of one concept.

    `expand` is "templates", "anthropic:MODEL" or "openai:MODEL". Raises BadInput when these do not go together, and whatever
    `from_file`, `expand_templates` or `expand_with_model` raise.
    """
    given = (concepts,) if isinstance(concepts, str) else tuple(concepts)
    provider, _, model = (expand or "").partition(":")
    if expand is not None and expand != "templates" and not (provider in SERVICES and model):
        raise BadInput(f"'{expand}' is no expansion: say templates, or {' or '.join(f'{name}:MODEL' for name in SERVICES)}")
    if base_url is not None and provider not in SERVICES:
        raise BadInput("a base URL is that of a language model's server: name the model too, for example openai:llama3.2")
    if file is not None:
        if given or expand:
            raise BadInput("prompts come from a file, or from what is typed, not from both: leave one out")
        return from_file(file)
    if expand is None:
        return given
    if len(given) != 1:
        raise BadInput(f"an expansion starts from one concept, and {len(given)} are given")
    if expand == "templates":
        return expand_templates(given[0], count)
    return expand_with_model(given[0], count, provider=provider, model=model, base_url=base_url, cache=cache).prompts


# ---- from a file


def from_file(path: str | Path) -> tuple[str, ...]:
    """The prompts of a UTF-8 file, in order. One that stands twice counts twice.

    .txt: one a line, blank lines and those that start with # skipped. .csv and .jsonl: the column or key `prompt`, else `text`.
    Raises BadInput when the file is missing, not text, of another kind, or holds no prompt.
    """
    path = Path(path)
    read = READERS.get(path.suffix.lower())
    if read is None:
        raise BadInput(f"{path}: prompts are read from {', '.join(READERS)} files")
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            prompts = tuple(p for p in map(_one_line, read(lines)) if p)
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is not UTF-8 text: save it as UTF-8") from error
    except (ValueError, csv.Error, RecursionError) as error:
        raise BadInput(f"{path}: {error}") from error
    if not prompts:
        raise BadInput(f"{path} holds no prompts")
    return prompts


def _text_lines(lines: Iterable[str]) -> Iterator[str]:
    return (line for line in lines if not line.lstrip().startswith("#"))


def _csv_rows(lines: Iterable[str]) -> Iterator[str]:
    rows = csv.DictReader(lines, strict=True)
    column = _column(rows.fieldnames or ())
    return (row[column] or "" for row in rows)


def _json_rows(lines: Iterable[str]) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                row: Any = json.loads(line)
                yield _one_line(row[_column(row)])
            except (ValueError, TypeError, RecursionError) as error:
                raise ValueError(f'line {number} is not like {{"prompt": "a red robot"}}') from error


def _column(names: Iterable[str]) -> str:
    """The name among `names`, whatever its case, under which the prompt stands; ValueError if there is none."""
    known = {name.strip().lower(): name for name in names}
    if not (found := [known[c] for c in COLUMNS if c in known]):
        raise ValueError(f"no column is called prompt or text; there are {', '.join(known) or 'none'}")
    return found[0]


READERS: dict[str, Callable[[Iterable[str]], Iterator[str]]] = {".txt": _text_lines, ".csv": _csv_rows, ".jsonl": _json_rows}


def _one_line(text: str) -> str:
    """Without line breaks, doubled spaces, control characters and broken Unicode, which would reach a terminal or a tokenizer."""
    return " ".join(re.sub(r"[\x00-\x08\x0e-\x1b\x7f-\x9f\ud800-\udfff]", "", text).split())


# ---- from templates

# One word of each list follows the concept; the first is none at all. The lengths (11, 13, 9, 7, 8, 5) have no common factor, so
# taking word i mod length from each uses all words of a list equally often and repeats itself only after the product of the lengths.
WORDS: tuple[tuple[str, ...], ...] = (
    ("", "oil painting", "photograph", "pencil sketch", "3D render", "ink wash painting", "flat vector illustration", "paper collage",
     "pixel art", "clay sculpture", "woodcut print"),
    ("", "in a forest", "on a city street", "at the seaside", "in a bright studio", "in the desert", "in a small crowded room",
     "in the mountains", "in a garden", "underwater", "in the snow", "in an old library", "in front of a plain wall"),
    ("", "soft morning light", "hard midday sun", "golden hour", "candlelight", "neon light", "overcast sky", "moonlight", "backlit"),
    ("", "close-up", "full view", "seen from above", "seen from the side", "seen from below", "seen from far away"),
    ("", "cheerful mood", "calm mood", "dramatic mood", "melancholic mood", "playful mood", "mysterious mood", "dreamlike mood"),
    ("", "symmetrical composition", "diagonal composition", "crowded frame", "wide empty space"),
)  # fmt: skip
COMBINATIONS = math.prod(map(len, WORDS))


def expand_templates(concept: str, count: int = COUNT) -> tuple[str, ...]:
    """`count` different prompts, always the same: the concept word for word, then words for medium, setting, light, viewpoint and so on.

    The first is the concept alone. BadInput for an empty concept, or a count outside 1 … COMBINATIONS.
    """
    concept = _concept(concept)
    if not 1 <= count <= COMBINATIONS:
        raise BadInput(f"templates give 1 to {COMBINATIONS} prompts, not {count}")
    joint = " " if concept[-1] in ".,;:!?" else ", "
    extras = (", ".join(word for words in WORDS if (word := words[i % len(words)])) for i in range(count))
    return tuple(f"{concept}{joint}{extra}" if extra else concept for extra in extras)


def _concept(text: str) -> str:
    if not (text := text.strip()):
        raise BadInput("the concept is empty: say what to draw, for example “a portrait of a person”")
    return text


# ---- from a language model

BATCH = 40  # prompts a call: an answer of about 2,000 tokens
SPARE_CALLS = 3  # beyond those needed if every answer were whole and new
SHOWN = 100  # of the prompts there already, told to the model: a local one may read only a few thousand tokens
INSTRUCTION = """Write {count} different prompts for a text-to-image model, in the language of this concept: {concept}
Every prompt must show that concept. Between them they should cover as widely as possible what a picture of it can be: kinds and looks \
of the thing itself, viewpoint, setting, mood, medium, light, composition. At most 30 words each.
Answer with a JSON array of {count} strings and nothing else."""
BESIDES = "\nThese are there already; write others: {had}"


@dataclass(frozen=True)
class Expansion:
    """What a model made of a concept: `received` texts in all, of which `prompts` are kept; `calls` made now, 0 if all were cached."""

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
    """`count` different prompts written by a language model, asked again for those missing. What it gave is kept in `cache` (JSON).

    The model, server, key and time limit are those of `chat.open_chat`; the key is never stored. The same request is never made twice: a
    cache with all prompts needs no call and no key, and one cut short is filled up. The cache's folder must be there.

    Raises BadInput for an unusable request or a missing key; SliderSpaceError when a call fails, the answer is no JSON list of texts, or
    too few prompts differ. There is no falling back to templates.
    """
    concept, chat = _concept(concept), open_chat(provider, model, base_url=base_url, api_key=api_key, timeout=timeout)
    if not 1 <= count <= MOST:
        raise BadInput(f"a language model is asked for 1 to {MOST} prompts, not {count}")
    if cache is not None and not cache.parent.is_dir():  # before a call is paid for
        raise BadInput(f"there is no folder {cache.parent} to keep the prompts in")
    asked = {"provider": provider, "model": model, "url": chat.url, "instruction": INSTRUCTION, "concept": concept, "count": count}
    identity = fingerprint(**asked)
    kept, received = _cached(cache, identity, count)
    most, calls = math.ceil((count - len(kept)) / BATCH) + SPARE_CALLS, 0
    while len(kept) < count and calls < most:
        answer = _texts(chat.ask(_question(concept, min(BATCH, count - len(kept)), kept)), model)
        kept, received, calls = _different([*kept, *answer])[:count], received + len(answer), calls + 1
        if cache is not None:
            stored = {**asked, "date": f"{datetime.now(UTC):%Y-%m-%d}", "received": received, "kept": len(kept), "prompts": kept}
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
    """Up to `count` prompts of an earlier run of this very request, and how many texts that received; none if there was none."""
    if cache is None or not is_done(cache, identity):
        return [], 0
    stored = load_json(cache, kind="prompts")
    prompts, received = stored.get("prompts"), stored.get("received")
    if not _is_texts(prompts) or not isinstance(received, int):
        raise DamagedFile(f"{cache} does not hold a list of prompts.\nDelete it and give the same command again.")
    return _different(prompts)[:count], received


def _texts(answer: str, model: str) -> list[str]:
    """The JSON array of strings in an answer, which may stand in a fenced block and after the model's thinking."""
    answer = re.sub(r"<think>.*?</think>", "", answer, flags=re.DOTALL)
    fenced = re.search(r"```\w*\n(.*?)```", answer, re.DOTALL)
    text = fenced[1] if fenced else answer
    try:
        found: object = json.loads(text[text.find("[") : text.rfind("]") + 1])
    except (ValueError, RecursionError):
        found = None
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
    for text in map(_one_line, texts):
        plain = "".join(c for c in unicodedata.normalize("NFKC", text).casefold() if unicodedata.category(c)[0] not in "PZ")
        if plain:
            first.setdefault(plain, text)
    return list(first.values())
