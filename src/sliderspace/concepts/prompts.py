"""Concept → prompts: as given, from a file, from templates (offline), or from a language model.

Like `chat`, which it asks through, the last was tested against a local stand-in only, never against the services
themselves.
"""

from collections.abc import Sequence
from pathlib import Path

from sliderspace.concepts.expansion import expand_with_model
from sliderspace.concepts.files import from_file
from sliderspace.concepts.templates import COUNT, expand_templates
from sliderspace.core.errors import BadInput
from sliderspace.language.chat import SERVICES


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

    `expand` is "templates", "anthropic:MODEL" or "openai:MODEL". Raises BadInput when these do not go together, and
    whatever
    `from_file`, `expand_templates` or `expand_with_model` raise.
    """
    given = (concepts,) if isinstance(concepts, str) else tuple(concepts)
    provider, _, model = (expand or "").partition(":")
    if expand is not None and expand != "templates" and not (provider in SERVICES and model):
        raise BadInput(
            f"'{expand}' is no expansion: say templates, or {' or '.join(f'{name}:MODEL' for name in SERVICES)}"
        )
    if base_url is not None and provider not in SERVICES:
        raise BadInput(
            "a base URL is that of a language model's server: name the model too, for example openai:llama3.2"
        )
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
