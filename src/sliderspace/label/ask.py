"""Names by a vision-language model, and the test that such names usually miss: can one who knows only the name tell a
slider's low end from its high end, on pictures never seen?

Tested against a local stand-in of the services only, never against the services themselves.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal, Self, TypeVar

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from sliderspace.core.arrays import Images
from sliderspace.core.seeds import generator_for
from sliderspace.core.text import is_blank, one_line
from sliderspace.label.pictures import enlarged
from sliderspace.language.answers import data_in
from sliderspace.language.chat import Chat
from sliderspace.space.labels import Checks, Label
from sliderspace.storage.files import fingerprint
from sliderspace.storage.images import encode_png

ROWS = 3  # seeds on the sheet that a name is made from
WORDS = 5  # of a name, at most
RIGHT = 7 / 8  # of the blind answers: of 8, a coin gets 7 or more in one try of 28

NAMING = """This sheet shows what one slider does to pictures that a text-to-image model draws. Each row is one seed: on
the left with the slider turned low, in the middle without it, on the right with it turned high.
What becomes more from left to right in EVERY row? Name that, in at most five plain words, as one would on a slider that
is turned to the right ("longer horns"). Ignore what differs between rows. If the rows have nothing in common, or you
cannot tell, say so.
Answer with JSON and nothing else: {"unclear": true} or
{"name": "...", "sentence": "one sentence on what changes", "low": "what the left shows, 1-3 words", \
"high": "what the right shows, 1-3 words", "confidence": 0.0 to 1.0}"""
CHOOSING = """These are two pictures, the first and the second. Which of them shows more of this: {name}
Answer with JSON and nothing else: {{"more": "first"}} or {{"more": "second"}}; guess where you cannot tell."""
AGAIN = "\nYour last answer could not be read ({why}). Answer with that JSON and nothing else."


class Named(BaseModel):
    """A model's answer about a sheet: a name, or that it is unclear."""

    unclear: bool = False
    name: str = ""
    sentence: str = ""
    low: str = ""
    high: str = ""
    confidence: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.0

    @field_validator("name", "sentence", "low", "high")
    @classmethod
    def _line(cls, text: str) -> str:
        return one_line(text)

    @field_validator("name")
    @classmethod
    def _short(cls, name: str) -> str:
        if len(name.split()) > WORDS:
            raise ValueError(f"the name has more than {WORDS} words")
        return name

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.unclear and is_blank(self.name):
            raise ValueError("there is neither a name nor unclear")
        return self


class Chosen(BaseModel):
    """A model's answer about a pair."""

    more: Literal["first", "second"]


Form = TypeVar("Form", Named, Chosen)


@dataclass
class Labeller:
    """A chat whose answers are kept: `answers` by fingerprint of model, question and pictures; `keep` stores a new
    one."""

    chat: Chat
    by: str
    answers: dict[str, str] = field(default_factory=dict)
    keep: Callable[[str, str], None] = lambda key, answer: None

    def asked(self, question: str, pictures: Sequence[bytes], form: type[Form]) -> Form | None:
        """The answer as data; None where the model twice gave none that can be read. Errors as `Chat.ask`."""
        shown = [hashlib.sha256(png).hexdigest() for png in pictures]
        key = fingerprint(model=self.chat.model, url=self.chat.url, question=question, pictures=shown)
        if (kept := read(self.answers.get(key, ""), form)) and not isinstance(kept, str):
            return kept
        why = ""
        for _ in range(2):
            found = read(self.chat.ask(question + (AGAIN.format(why=why) if why else ""), pictures), form)
            if not isinstance(found, str):
                self.keep(key, found.model_dump_json())
                return found
            why = found
        return None

    def named(self, sheet: Images) -> Label:
        """A slider's sheet -> a proposal, untested."""
        found = self.asked(NAMING, [encode_png(sheet)], Named)
        if found is None or found.unclear:
            said = "It said that this is unclear." if found else "Its answers could not be read."
            return Label(by=self.by, sentence=said)
        about = found.model_dump(include={"sentence", "low", "high", "confidence"})
        return Label.model_validate({"proposed": found.name, "by": self.by, **about})

    def blind(self, name: str, pairs_S2HWC: Images, seed: int) -> Checks:
        """How often one who sees only the name and a pair (low, high) of one seed says which has more of it; each pair
        in both orders, the first of them by the seed. What cannot be read is wrong."""
        right = [self._chosen(name, pair, turned) for s, pair in enumerate(pairs_S2HWC) for turned in orders(seed, s)]
        return Checks(right=sum(right) / len(right), answers=len(right))

    def _chosen(self, name: str, pair_2HWC: Images, turned: bool) -> bool:
        low, high = (encode_png(enlarged(image)) for image in pair_2HWC)
        found = self.asked(CHOOSING.format(name=name), [high, low] if turned else [low, high], Chosen)
        return found is not None and (found.more == "first") == turned


def orders(seed: int, index: int) -> tuple[bool, bool]:
    """Whether the high end comes first, for the two questions about pair `index`."""
    first = bool(generator_for(seed, "label order", index).integers(2))
    return first, not first


def read(answer: str, form: type[Form]) -> Form | str:
    """The data in an answer, or why there is none."""
    found = data_in(answer, "{}")
    if not isinstance(found, dict):
        return "there is no JSON object in it"
    try:
        return form.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        return one_line(f"{'.'.join(map(str, first['loc']))}: {first['msg']}".strip(": "))[:200]
