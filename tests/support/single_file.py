"""Pipeline folders as single files: the names of the original code, as diffusers' own scripts write them.

SDXL and SD 1.5: scripts/convert_diffusers_to_original_sdxl.py and ..._stable_diffusion.py (huggingface/diffusers at
0c238d82), for any number of blocks. FLUX: the other way round of scripts/convert_flux_to_diffusers.py.
"""

import json
import re
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

Tensors = dict[str, Tensor]
RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
UNET = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
OPENCLIP = {
    "encoder.layers.": "transformer.resblocks.",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    ".fc1.": ".c_fc.",
    ".fc2.": ".c_proj.",
    ".self_attn": ".attn",
    "final_layer_norm.": "ln_final.",
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
}


def save_single(folder: Path, file: Path, **marks: Tensor) -> Path:
    """An SDXL or SD 1.5 folder as one file; `marks` are tensors that only say something."""
    xl = (folder / "text_encoder_2").is_dir()
    tensors = _under("model.diffusion_model.", unet(part(folder, "unet"), config(folder, "unet")))
    tensors |= _under("first_stage_model.", vae(part(folder, "vae"), len(config(folder, "vae")["block_out_channels"])))
    first = "conditioner.embedders.0.transformer." if xl else "cond_stage_model.transformer."
    tensors |= _under(f"{first}text_model.", clip(part(folder, "text_encoder")))
    if xl:
        tensors |= _under("conditioner.embedders.1.model.", openclip(clip(part(folder, "text_encoder_2"))))
    save_file({name: t.contiguous() for name, t in {**tensors, **marks}.items()}, file)
    return file


FLUX = {  # below a block, or in none
    "time_text_embed.timestep_embedder.linear_1": "time_in.in_layer",
    "time_text_embed.timestep_embedder.linear_2": "time_in.out_layer",
    "time_text_embed.text_embedder.linear_1": "vector_in.in_layer",
    "time_text_embed.text_embedder.linear_2": "vector_in.out_layer",
    "time_text_embed.guidance_embedder.linear_1": "guidance_in.in_layer",
    "time_text_embed.guidance_embedder.linear_2": "guidance_in.out_layer",
    "context_embedder": "txt_in",
    "x_embedder": "img_in",
    "norm_out.linear": "final_layer.adaLN_modulation.1",
    "proj_out": "final_layer.linear",
}
FLUX_DOUBLE = {
    "norm1.linear": "img_mod.lin",
    "norm1_context.linear": "txt_mod.lin",
    "attn.to_out.0": "img_attn.proj",
    "attn.to_add_out": "txt_attn.proj",
    "ff.net.0.proj": "img_mlp.0",
    "ff.net.2": "img_mlp.2",
    "ff_context.net.0.proj": "txt_mlp.0",
    "ff_context.net.2": "txt_mlp.2",
    ("attn.to_q", "attn.to_k", "attn.to_v"): "img_attn.qkv",
    ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"): "txt_attn.qkv",
}
FLUX_DOUBLE_NORMS = {"norm_q": "img_attn.norm.query_norm", "norm_k": "img_attn.norm.key_norm"}
FLUX_DOUBLE_NORMS |= {"norm_added_q": "txt_attn.norm.query_norm", "norm_added_k": "txt_attn.norm.key_norm"}
FLUX_SINGLE = {
    "norm.linear": "modulation.lin",
    "proj_out": "linear2",
    ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"): "linear1",
}
FLUX_SINGLE_NORMS = {"norm_q": "norm.query_norm", "norm_k": "norm.key_norm"}


def save_flux_file(folder: Path, file: Path) -> Path:
    """The transformer of a FLUX folder as one file: all that most published ones hold."""
    of = part(folder, "transformer")
    found: Tensors = {}

    def take(parts: str | tuple[str, ...], name: str, under: str = "") -> None:
        for end in ("weight", "bias"):
            values = [of.pop(f"{under}{each}.{end}") for each in ((parts,) if isinstance(parts, str) else parts)]
            found[f"{name}.{end}"] = torch.cat(values)

    for i in {int(name.split(".")[1]) for name in of if name.startswith("transformer_blocks.")}:
        for norm, name in FLUX_DOUBLE_NORMS.items():
            found[f"double_blocks.{i}.{name}.scale"] = of.pop(f"transformer_blocks.{i}.attn.{norm}.weight")
        for parts, name in FLUX_DOUBLE.items():
            take(parts, f"double_blocks.{i}.{name}", f"transformer_blocks.{i}.")
    for i in {int(name.split(".")[1]) for name in of if name.startswith("single_transformer_blocks.")}:
        for norm, name in FLUX_SINGLE_NORMS.items():
            found[f"single_blocks.{i}.{name}.scale"] = of.pop(f"single_transformer_blocks.{i}.attn.{norm}.weight")
        for parts, name in FLUX_SINGLE.items():
            take(parts, f"single_blocks.{i}.{name}", f"single_transformer_blocks.{i}.")
    for inside, name in FLUX.items():
        if f"{inside}.weight" in of:  # only dev is told its guidance
            take(inside, name)
    for end in ("weight", "bias"):  # scale and shift change places
        at = f"final_layer.adaLN_modulation.1.{end}"
        found[at] = torch.cat(found[at].chunk(2)[::-1])
    assert not of, f"without a name there: {sorted(of)[:3]}"
    save_file({name: t.contiguous() for name, t in found.items()}, file)
    return file


def part(folder: Path, name: str) -> Tensors:
    (file,) = (folder / name).glob("*.safetensors")
    return load_file(file)


def config(folder: Path, name: str) -> dict[str, list[int]]:
    return json.loads((folder / name / "config.json").read_text())


def _under(prefix: str, tensors: Tensors) -> Tensors:
    return {prefix + name: t for name, t in tensors.items()}


def clip(tensors: Tensors) -> Tensors:
    """The names below `text_model`, which newer versions of transformers leave out."""
    return {name.removeprefix("text_model."): t for name, t in tensors.items()}


def unet(tensors: Tensors, about: dict[str, list[int]]) -> Tensors:
    width = int(str(about["layers_per_block"])) + 1  # places of a block, going down: its layers and a downsampler

    def place(name: str) -> str:
        for ours, theirs in UNET.items():
            if name.startswith(f"{ours}."):
                return name.replace(ours, theirs, 1)
        if found := re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d)\.(.+)", name):
            return f"middle_block.{1 if found[1] == 'attentions' else 2 * int(found[2])}.{inner(found[1], found[3])}"
        found = re.fullmatch(r"(down|up)_blocks\.(\d)\.(\w+)\.(\d)\.(.+)", name)
        assert found, name
        way, block, kind, at, rest = found[1], int(found[2]), found[3], int(found[4]), found[5]
        if kind == "downsamplers":
            return f"input_blocks.{width * (block + 1)}.0.op.{rest.removeprefix('conv.')}"
        if kind == "upsamplers":
            attends = any(other.startswith(f"up_blocks.{block}.attentions") for other in tensors)
            return f"output_blocks.{width * block + width - 1}.{2 if attends else 1}.{rest}"
        row = f"input_blocks.{width * block + at + 1}" if way == "down" else f"output_blocks.{width * block + at}"
        return f"{row}.{1 if kind == 'attentions' else 0}.{inner(kind, rest)}"

    return {place(name): t for name, t in tensors.items()}


def inner(kind: str, name: str) -> str:
    head, dot, rest = name.partition(".")
    return f"{RESNET[head]}{dot}{rest}" if kind == "resnets" else name


def vae(tensors: Tensors, blocks: int) -> Tensors:
    def place(name: str) -> str:
        name = re.sub(r"down_blocks\.(\d)\.resnets\.(\d)", r"down.\1.block.\2", name)
        name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
        name = re.sub(r"up_blocks\.(\d)\.resnets\.(\d)", lambda m: f"up.{blocks - 1 - int(m[1])}.block.{m[2]}", name)
        name = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{blocks - 1 - int(m[1])}.upsample", name)
        name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
        name = name.replace("mid_block.attentions.0.", "mid.attn_1.").replace("conv_shortcut", "nin_shortcut")
        name = name.replace("conv_norm_out", "norm_out")
        if "attn_1" in name:
            name = name.replace("group_norm.", "norm.").replace("to_out.0.", "proj_out.")
            name = re.sub(r"to_([qkv])\.", r"\1.", name)
        return name

    made = {place(name): t for name, t in tensors.items()}
    return {n: t[..., None, None] if "attn_1" in n and t.ndim == 2 else t for n, t in made.items()}


def openclip(tensors: Tensors) -> Tensors:
    made: Tensors = {}
    for name in sorted(tensors):
        t, place = tensors[name], name
        for ours, theirs in OPENCLIP.items():
            place = place.replace(ours, theirs)
        if name == "text_projection.weight":
            made["text_projection"] = t.T
        elif found := re.fullmatch(r"(.+)\.([qkv])_proj\.(weight|bias)", place):
            three = [tensors[name.replace(f"{found[2]}_proj", f"{letter}_proj")] for letter in "qkv"]
            made[f"{found[1]}.in_proj_{found[3]}"] = torch.cat(three)
        else:
            made[place] = t
    return made
