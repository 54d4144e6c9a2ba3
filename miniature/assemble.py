"""Puts the trained parts together as the folder that ships: pipeline (of diffusers), tiny (the preview decoder), clip
(of transformers) and judge, side by side, so that another judge is not another model.

    python assemble.py --vae OUT/vae/final --tiny OUT/tiny/final --clip OUT/clip/final \
        --text OUT/unet/text --unet OUT/guided/final --judge OUT/judge/final --out FOLDER

All of it fp16 safetensors and JSON, at most 36 MiB; of a UNet that is not finished, its EMA. A factor that the judge
reads with a skill below `--read` on held-out pictures is left out: it would be no measure of a slider. Loaded back here
through the ordinary calls before it counts as made."""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, StableDiffusionPipeline
from judge import without_unread
from transformers import CLIPTextModel, CLIPTokenizer, VisionTextDualEncoderModel
from unet import load_unet, scheduler

LIMIT_MIB = 36
READ = 0.5  # of 1: the least skill with which a factor that counts is read


def _tidy(out: Path) -> None:
    for config in (out / part / "config.json" for part in ("pipeline/unet", "pipeline/vae", "tiny")):
        values = placeless(json.loads(config.read_text()))
        if config.parent.name == "tiny":
            values.pop("block_out_channels", None)  # diffusers writes it, and warns of it when it reads
        config.write_text(json.dumps(values, indent=2) + "\n")
    for config in (out / "pipeline" / "text_encoder" / "config.json", out / "clip" / "config.json"):
        # transformers loads in the precision a config names, diffusers in float32: both together would not run on a CPU
        text = config.read_text().replace('"dtype": "float16"', '"dtype": "float32"')
        config.write_text(json.dumps(placeless(json.loads(text)), indent=2) + "\n")


def placeless(config: dict[str, Any]) -> dict[str, Any]:
    """Without where a part lay while it was made, the parts of a dual encoder included."""
    kept = {key: value for key, value in config.items() if key != "_name_or_path"}
    return {key: placeless(value) if isinstance(value, dict) else value for key, value in kept.items()}


def assemble(vae: Path, tiny: Path, clip: Path, text: Path, unet: Path, judge: Path, out: Path, read: float) -> None:
    whole = VisionTextDualEncoderModel.from_pretrained(clip, torch_dtype=torch.float16, use_safetensors=True)
    pipe = StableDiffusionPipeline(
        vae=AutoencoderKL.from_pretrained(vae, torch_dtype=torch.float16, use_safetensors=True),
        text_encoder=CLIPTextModel.from_pretrained(text, torch_dtype=torch.float16, use_safetensors=True),
        tokenizer=CLIPTokenizer.from_pretrained(clip),
        unet=load_unet(unet).half(),
        scheduler=scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.save_pretrained(out / "pipeline")
    AutoencoderTiny.from_pretrained(tiny, torch_dtype=torch.float16, use_safetensors=True).save_pretrained(out / "tiny")
    whole.save_pretrained(out / "clip")
    _tidy(out)
    pipe.tokenizer.save_pretrained(out / "clip")
    (out / "clip" / "preprocessor_config.json").write_bytes((clip / "preprocessor_config.json").read_bytes())
    unread = without_unread(judge, out / "judge", read)
    parts = [path for path in out.rglob("*") if path.is_file()]
    for path in parts:
        path.chmod(0o644)  # safetensors writes files that nobody else may read
    size = sum(path.stat().st_size for path in parts) / 2**20
    StableDiffusionPipeline.from_pretrained(
        out / "pipeline", safety_checker=None, requires_safety_checker=False, use_safetensors=True
    )
    AutoencoderTiny.from_pretrained(out / "tiny", use_safetensors=True)
    VisionTextDualEncoderModel.from_pretrained(out / "clip", use_safetensors=True)
    print(f"{out}: {size:.1f} MiB; the judge does not read {', '.join(unread) or 'nothing'}")
    if size > LIMIT_MIB:
        raise SystemExit(f"more than {LIMIT_MIB} MiB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name in ("vae", "tiny", "clip", "text", "unet", "judge", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--read", type=float, default=READ)
    assemble(**vars(parser.parse_args()))
