"""OpenAI's chat completions, which most servers speak, through huggingface_hub's client."""

import base64
import json
from collections.abc import Sequence
from typing import Any

from sliderspace.core.errors import BadInput
from sliderspace.language.service import OtherForm, Refused, Reply, Slow, Unreached


def ask(question: str, pictures: Sequence[bytes], *, model: str, address: str, key: str, timeout: float) -> Reply:
    """One question, one answer; Failure if there is none. No limit of tokens is sent: OpenAI's newer models refuse
    `max_tokens`, and local servers do not all know what replaced it."""
    from huggingface_hub import InferenceClient
    from huggingface_hub.errors import HfHubHTTPError, HTTPError, InferenceTimeoutError, OfflineModeIsEnabled

    # Without any key the library would send the user's Hugging Face token.
    client = InferenceClient(base_url=f"{address}/chat/completions", api_key=key or "none", timeout=timeout)
    messages = [{"role": "user", "content": _content(question, pictures)}]
    try:
        answer: Any = client.chat_completion(messages, model=model)
    except OfflineModeIsEnabled:
        raise BadInput("HF_HUB_OFFLINE forbids every request.\nUnset it, also for a server of your own.") from None
    except InferenceTimeoutError as error:
        raise Slow(str(error)) from None
    except HfHubHTTPError as error:
        raise Refused(
            error.response.text, error.response.status_code, error.response.headers.get("retry-after")
        ) from None
    except HTTPError as error:  # of httpx or httpx2, whichever the library brings
        raise Unreached(str(error)) from None
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise OtherForm(getattr(error, "doc", str(error))) from None  # `doc`: what was no JSON
    try:
        choice = answer.choices[0]
        return Reply(choice.message.content or "", choice.finish_reason)
    except (AttributeError, TypeError, LookupError):
        raise OtherForm(json.dumps(answer)) from None


def _content(question: str, pictures: Sequence[bytes]) -> Any:
    shown = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64.b64encode(png).decode()}"}}
        for png in pictures
    ]
    return [*shown, {"type": "text", "text": question}] if pictures else question
