"""What a language model wrote -> the data in it, which may stand in a fenced block and after the model's thinking."""

import json
import re


def data_in(answer: str, brackets: str) -> object:
    """The JSON between the first and the last of the two `brackets`, "[]" or "{}"; None where there is none."""
    answer = re.sub(r"<think>.*?</think>", "", answer, flags=re.DOTALL)
    fenced = re.search(r"```\w*\n(.*?)```", answer, re.DOTALL)
    text = fenced[1] if fenced else answer
    try:
        return json.loads(text[text.find(brackets[0]) : text.rfind(brackets[1]) + 1])
    except (ValueError, RecursionError):
        return None
