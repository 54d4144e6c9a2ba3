"""A finished space -> names for its sliders, by a vocabulary or by a vision-language model, in labels.json.

Generators of (how many sliders are done, a note); each slider's label is stored as soon as it is known.
"""

from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from sliderspace.core.errors import BadInput
from sliderspace.label.ask import RIGHT, ROWS, Labeller
from sliderspace.label.clip import Clip
from sliderspace.label.directions import Moves
from sliderspace.label.pictures import Pictures, pictures_of, sheet, unseen
from sliderspace.label.vocabulary import BY, known_words, labels_by_words, read_words
from sliderspace.language.chat import SERVICES, Chat, open_chat
from sliderspace.space.labels import Checks, Label, change, labels_of, propose
from sliderspace.space.space import SliderSpace
from sliderspace.storage.run_folder import RunFolder

Steps = Iterator[tuple[int, str]]
AGAINST = 0.5  # a name that more random directions fit than the slider does is contradicted by the CLIP


def name_sliders(
    space: SliderSpace,
    by: str = BY,
    *,
    base_url: str | None = None,
    words: Path | None = None,
    again: bool = False,
) -> Steps:
    """Name every slider by `vocabulary`, `anthropic:MODEL` or `openai:MODEL`; names that a person chose stay.

    `words` is a vocabulary of one's own, `base_url` the server of a service; what a service answered before is not
    asked again but with `again`. Raises BadInput before anything is drawn or asked where these do not go together,
    SliderSpaceError where a service fails: what it answered so far is kept.
    """
    phrases = read_words(words)
    provider, _, model = by.partition(":")
    if by != BY and not (provider in SERVICES and model):
        services = ", ".join(f"{name}:MODEL" for name in SERVICES)
        raise BadInput(f"--by: '{by}' names nobody who could label: say {BY}, {services}")
    if by == BY:
        if base_url is not None:
            raise BadInput("a base URL is that of a service: say --by openai:MODEL too")
        return _by_words(space, phrases)
    return _by_service(space, open_chat(provider, model, base_url=base_url), by, phrases, again=again)


def _by_words(space: SliderSpace, phrases: tuple[str, ...]) -> Steps:
    yield 0, "pictures"
    pictures = pictures_of(space)
    clip = Clip(space)
    found = labels_by_words(clip, clip.moves(pictures), phrases)
    propose(RunFolder(space.folder), dict(enumerate(found)), space.made_from)
    yield len(space), f"{sum(label.passed for label in found)} sure"


def _by_service(space: SliderSpace, chat: Chat, by: str, phrases: tuple[str, ...], *, again: bool) -> Steps:
    run = RunFolder(space.folder)
    answers = {} if again else dict(labels_of(run).answers)

    def keep(key: str, answer: str) -> None:
        change(
            run, lambda labels: labels.model_copy(update={"answers": {**labels.answers, key: answer}}), space.made_from
        )

    yield 0, "pictures"
    pictures = pictures_of(space)
    judge = Agreement(space, pictures, phrases)
    labeller = Labeller(chat, by, answers, keep)
    for k in range(len(space)):
        label = labeller.named(sheet(pictures, k, ROWS))
        if label.proposed:
            blind = labeller.blind(label.proposed, unseen(space, k), space.settings.seed)
            checks = blind.model_copy(update={"agreement": judge.of(k, label)})
            label = label.model_copy(update={"checks": checks, "passed": passes(checks)})
        propose(run, {k: label}, space.made_from)
        yield k + 1, label.proposed or "unclear"


def passes(checks: Checks) -> bool:
    """Whether a service's name holds: told blind on unseen seeds, and not contradicted by a CLIP where there is one."""
    told = checks.right is not None and checks.right >= RIGHT
    return told and (checks.agreement is None or checks.agreement >= AGAINST)


class Agreement:
    """Whether a name's text direction in a CLIP is that of a slider's pictures; None throughout where none can be
    had."""

    def __init__(self, space: SliderSpace, pictures: Pictures, phrases: tuple[str, ...]) -> None:
        self.space, self.pictures, self.phrases = space, pictures, phrases

    @cached_property
    def _clip(self) -> tuple[Clip, Moves] | None:
        with suppress(BadInput):  # no network, for instance
            clip = Clip(self.space)
            return clip, clip.moves(self.pictures)
        return None

    def of(self, slider: int, label: Label) -> float | None:
        """Share of random directions of the same pictures that fit the name less than the slider does, 0 … 1; None too
        for words that the model's CLIP does not know."""
        told = [text for text in (label.high or label.proposed, label.low) if text]
        if not told or self._clip is None or len(known_words(told, self.space.settings)) < len(told):
            return None
        clip, moves = self._clip
        text_WD = clip.texts_about(told)
        other_D = text_WD[1] if len(told) > 1 else clip.texts_about(self.phrases).mean(axis=0)
        direction_1D = (text_WD[0] - other_D)[None]
        own = float(moves.toward(direction_1D)[slider, 0])
        return float((moves.chance(direction_1D)[:, 0] < own).mean())
