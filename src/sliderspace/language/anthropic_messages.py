"""Anthropic's messages, through its own library."""

import base64
from collections.abc import Sequence
from typing import Any

from sliderspace.core.errors import BadInput
from sliderspace.language.service import OtherForm, Refused, Reply, Slow, Unreached

MOST_TOKENS = 8192  # of an answer


def ask(question: str, pictures: Sequence[bytes], *, model: str, address: str, key: str, timeout: float) -> Reply:
    """One question, one answer; Failure if there is none, BadInput when the library is not installed."""
    try:
        import anthropic
    except ImportError:
        raise BadInput(
            "Anthropic's models need one more library.\nInstall it: pip install 'sliderspace[label]'"
        ) from None
    # Following a redirect would send the key to another server.
    http_client = anthropic.DefaultHttpxClient(follow_redirects=False)
    # Without any key the library would look for one in the environment and in its own files.
    access: Any = {"api_key": key or "none", "base_url": address.removesuffix("/v1")}
    with anthropic.Anthropic(**access, timeout=timeout, max_retries=0, http_client=http_client) as client:
        try:
            message: Any = client.messages.create(
                model=model,
                max_tokens=MOST_TOKENS,
                messages=[{"role": "user", "content": _content(question, pictures)}],
            )
        except anthropic.APITimeoutError as error:
            raise Slow(str(error)) from None
        except anthropic.APIConnectionError as error:
            raise Unreached(str(error.__cause__ or error)) from None
        except anthropic.APIStatusError as error:
            raise Refused(error.response.text, error.status_code, error.response.headers.get("retry-after")) from None
        except (anthropic.APIError, ValueError) as error:
            raise OtherForm(str(error)) from None
    try:
        text = "".join(block.text for block in message.content if block.type == "text")
        return Reply(text, message.stop_reason)
    except (AttributeError, TypeError):
        raise OtherForm(message if isinstance(message, str) else message.to_json(warnings=False)) from None


def _content(question: str, pictures: Sequence[bytes]) -> Any:
    shown = [
        {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/png", "data": base64.b64encode(png).decode()},
        }
        for png in pictures
    ]
    return [*shown, {"type": "text", "text": question}] if pictures else question
