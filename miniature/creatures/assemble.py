"""Puts the trained parts together as the folder that ships: pipeline, preview decoder, CLIP and judge.

    python -m creatures.assemble --vae OUT/vae/final --tiny OUT/tiny/final --clip OUT/clip/final --unet OUT/unet/final \
        --judge OUT/judge/final --out FOLDER

All of it fp16 safetensors and JSON, at most 36 MiB. Loaded back here through the ordinary calls before it counts as
made. """

import argparse
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPModel, CLIPTextModel, CLIPTokenizer

from creatures.unet import scheduler

LIMIT_MIB = 36


def _tidy(out: Path) -> None:
    # where a part lay while it was made is nobody's business
    for config in (out / part / "config.json" for part in ("unet", "vae", "tiny")):
        config.write_text(
            "".join(line for line in config.read_text().splitlines(keepends=True) if "_name_or_path" not in line)
        )
    for config in (out / "text_encoder" / "config.json", out / "clip" / "config.json"):
        # transformers loads in the precision a config names, diffusers in float32: both together would not run on a CPU
        config.write_text(config.read_text().replace('"dtype": "float16"', '"dtype": "float32"'))


def assemble(vae: Path, tiny: Path, clip: Path, unet: Path, judge: Path, out: Path) -> None:
    whole = CLIPModel.from_pretrained(clip, torch_dtype=torch.float16, use_safetensors=True)
    pipe = StableDiffusionPipeline(
        vae=AutoencoderKL.from_pretrained(vae, torch_dtype=torch.float16, use_safetensors=True),
        text_encoder=CLIPTextModel.from_pretrained(clip, torch_dtype=torch.float16, use_safetensors=True),
        tokenizer=CLIPTokenizer.from_pretrained(clip),
        unet=UNet2DConditionModel.from_pretrained(unet, torch_dtype=torch.float16, use_safetensors=True),
        scheduler=scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.save_pretrained(out)
    AutoencoderTiny.from_pretrained(tiny, torch_dtype=torch.float16, use_safetensors=True).save_pretrained(out / "tiny")
    whole.save_pretrained(out / "clip")
    _tidy(out)
    pipe.tokenizer.save_pretrained(out / "clip")
    (out / "clip" / "preprocessor_config.json").write_bytes((clip / "preprocessor_config.json").read_bytes())
    shutil.copytree(judge, out / "judge", dirs_exist_ok=True)
    size = sum(p.stat().st_size for p in out.rglob("*") if p.is_file()) / 2**20
    StableDiffusionPipeline.from_pretrained(
        out, safety_checker=None, requires_safety_checker=False, use_safetensors=True
    )
    AutoencoderTiny.from_pretrained(out / "tiny", use_safetensors=True)
    CLIPModel.from_pretrained(out / "clip", use_safetensors=True)
    print(f"{out}: {size:.1f} MiB")
    if size > LIMIT_MIB:
        raise SystemExit(f"more than {LIMIT_MIB} MiB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name in ("vae", "tiny", "clip", "unet", "judge", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    assemble(**vars(parser.parse_args()))
