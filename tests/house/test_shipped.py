"""The shipped miniature is a real model: the ordinary calls of diffusers and transformers load and run it unchanged."""

import numpy as np
import torch
from diffusers import AutoencoderTiny, StableDiffusionPipeline
from transformers import AutoImageProcessor, AutoTokenizer, VisionTextDualEncoderModel

from sliderspace.method.denoise import final_latents
from sliderspace.models.load import encoder_at, load_backbone
from sliderspace.models.sources import resolve

PROMPT = "a monster, blue background"


def test_the_plain_pipeline_call_draws() -> None:
    pipe = StableDiffusionPipeline.from_pretrained(resolve("asset:mini/pipeline"), use_safetensors=True)
    pipe.set_progress_bar_config(disable=True)
    image = pipe(
        PROMPT, num_inference_steps=8, guidance_scale=1.0, generator=torch.Generator().manual_seed(0), output_type="np"
    ).images[0]
    assert image.shape == (128, 128, 3)
    corner = image[:8, :8].mean((0, 1))
    assert corner[2] > corner[0] + 0.1, f"the background asked for is blue, the corner is {np.round(corner, 2)}"


def test_the_plain_clip_call_tells_drawings_apart() -> None:
    folder = resolve("asset:mini")
    pipe = StableDiffusionPipeline.from_pretrained(folder / "pipeline", use_safetensors=True)
    pipe.set_progress_bar_config(disable=True)
    texts = ["a robot toy", "a monster in neon style", "a red dragon"]
    seeds = [torch.Generator().manual_seed(0) for _ in texts]
    images = pipe(texts, num_inference_steps=8, guidance_scale=1.0, generator=seeds, output_type="pil").images
    clip = VisionTextDualEncoderModel.from_pretrained(folder / "clip", use_safetensors=True).eval()
    look, words = (kind.from_pretrained(folder / "clip") for kind in (AutoImageProcessor, AutoTokenizer))
    said = words(texts, padding="max_length", return_tensors="pt")
    with torch.no_grad():
        scores = clip(**said, **look(images, return_tensors="pt")).logits_per_image
    assert scores.argmax(1).tolist() == [0, 1, 2]


def test_the_preview_decoder_shows_what_the_full_one_does() -> None:
    """At half the size: what encoders see of a finished picture must not depend on which decoder drew it."""
    small, full = (load_backbone("mini", device="cpu", precision="float32", decoder=d) for d in ("auto", "full"))
    plain = AutoencoderTiny.from_pretrained(resolve("asset:mini/tiny"), use_safetensors=True).eval()
    encoder = encoder_at("asset:mini/clip", device=torch.device("cpu"))
    prompts = ["a monster", "a red dragon", "a robot toy, neon style", "a bunny"]
    with torch.no_grad():
        z = final_latents(small, small.encode(prompts).rows([0, 1, 2, 3]), [0, 1, 2, 3])
        torch.testing.assert_close(small.decode(z), plain.decode(z).sample / 2 + 0.5)
        assert small.decode(z).shape == (4, 3, 64, 64) and small.draw(z).shape == (4, 3, 128, 128)
        torch.testing.assert_close(small.draw(z), full.decode(z))
        alike = (encoder(small.decode(z).clamp(0, 1)) * encoder(full.decode(z).clamp(0, 1))).sum(1)
    assert alike.min() > 0.9, f"cosines of the two embeddings: {alike.tolist()}"
