"""The shipped miniature is a real model: the ordinary calls of diffusers and transformers load and run it unchanged."""

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from transformers import CLIPModel, CLIPProcessor

from sliderspace.models.sources import resolve

PROMPT = "a person in pixel art style, blue background"


def test_the_plain_pipeline_call_draws() -> None:
    pipe = StableDiffusionPipeline.from_pretrained(resolve("asset:mini/pipeline"), use_safetensors=True)
    pipe.set_progress_bar_config(disable=True)
    image = pipe(
        PROMPT, num_inference_steps=8, guidance_scale=1.0, generator=torch.Generator().manual_seed(0), output_type="np"
    ).images[0]
    assert image.shape == (64, 64, 3)
    corner = image[:8, :8].mean((0, 1))
    assert corner[2] > corner[0] + 0.1, f"the background asked for is blue, the corner is {np.round(corner, 2)}"


def test_the_plain_clip_call_tells_drawings_apart() -> None:
    folder = resolve("asset:mini")
    pipe = StableDiffusionPipeline.from_pretrained(folder / "pipeline", use_safetensors=True)
    pipe.set_progress_bar_config(disable=True)
    texts = ["a robot", "a person in pixel art style", "an emoji face"]
    seeds = [torch.Generator().manual_seed(0) for _ in texts]
    images = pipe(texts, num_inference_steps=8, guidance_scale=1.0, generator=seeds, output_type="pil").images
    clip = CLIPModel.from_pretrained(folder / "clip", use_safetensors=True).eval()
    look = CLIPProcessor.from_pretrained(folder / "clip")
    with torch.no_grad():
        scores = clip(**look(text=texts, images=images, padding="max_length", return_tensors="pt")).logits_per_image
    assert scores.argmax(1).tolist() == [0, 1, 2]
