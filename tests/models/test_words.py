"""Texts beside images: the other half of CLIP, and encoders that have none."""

import torch

from sliderspace.models.encoders.words import read_words
from sliderspace.models.sources import resolve

CPU = torch.device("cpu")
TEXTS = ["a robot", "a person in pixel art style", "a person " + "with glasses and a beard " * 20]


def test_they_are_those_of_the_whole_model() -> None:
    from transformers import AutoTokenizer, VisionTextDualEncoderModel

    folder = resolve("asset:mini/clip")
    whole, words = VisionTextDualEncoderModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    read = words(TEXTS, padding="max_length", truncation=True, max_length=32, return_tensors="pt")
    with torch.no_grad():
        pooled = whole.text_model(**read).pooler_output
        due = torch.nn.functional.normalize(whole.text_projection(pooled), dim=-1)
    found = read_words("asset:mini/clip", TEXTS, CPU)
    assert found is not None
    torch.testing.assert_close(found, due, atol=1e-5, rtol=0)


def test_an_encoder_without_words_reads_none() -> None:
    assert read_words("asset:mini/judge", TEXTS, CPU) is None
    assert read_words("asset:forms", TEXTS, CPU) is None
    assert read_words("facenet", TEXTS, CPU) is None
