"""One model and its working point, and where its files are."""

import re
from dataclasses import dataclass
from pathlib import Path

from sliderspace.models.backbones.single_file import LAYOUTS, read_header
from sliderspace.models.configs import SHIPPED
from sliderspace.models.identity import source_identity
from sliderspace.models.sources import find, is_repo, names_in, resolve

PARTS = ("text_encoder", "text_encoder_2", "text_encoder_3", "vae", "unet", "transformer")  # with weights
CLIP_L = "clip"
ANYTHING = "photographs, paintings, drawings: most things that have an English name"
NOT_RUN = "not run by us at full size (no weights on the build machines)"
TRY = ("a toy", "a portrait of a person", "artwork in the style of a famous artist")
PLAIN = re.compile(r"[^/]+/[^/.]+\.safetensors")
JOINING = "a an the of in on with and or to at is no very style drawing picture image photo painting"


@dataclass(frozen=True)
class Preset:
    """One model and its working point."""

    name: str
    location: str  # "asset:…" inside the package, a local folder, or owner/repository
    steps: int
    guidance: float  # classifier-free guidance; 1 is none
    knows: str = ANYTHING
    examples: tuple[str, ...] = TRY
    expected: str = NOT_RUN  # what a discovery costs and gives, and who said so
    licence: str = ""
    revision: str = ""  # the commit these settings are meant for; empty: the newest
    encoder: str = CLIP_L  # the image encoder used when none is asked for
    judge: str = ""  # an encoder that trains nothing, for measures; empty: the training encoder judges
    resolution: int = 0  # pixels; 0: the model's own
    sampler: str = ""  # empty: the model's own
    timesteps: tuple[int, ...] = ()
    spacing: str = ""
    prediction: str = ""  # what the denoiser predicts, where not what the folder says: "v" or "v-zero-snr"
    file: str = ""  # "repository[@revision]:file" or a path: one file with the weights of all or most parts
    weights: str = ""  # "repository[@revision]:file" or a path: denoiser weights in place of the pipeline's
    lora: str = ""  # "repository[@revision]:file" or a path: a LoRA fused into the denoiser's weights
    decoder: str = ""  # a small AutoencoderTiny for discovery
    variant: str = ""  # "fp16": fetch the half-size files only
    teacher: str = ""  # the preset that it was distilled from
    words: tuple[str, ...] = ()  # all that it knows, where that is little; empty: everything

    @property
    def source(self) -> str:
        """Where it is, with the commit that these settings are meant for."""
        return f"{self.location}@{self.revision}" if self.revision else self.location

    def unknown_words(self, prompt: str) -> tuple[str, ...]:
        """The words of a prompt that mean nothing to this model; none where it knows everything."""
        if not self.words:
            return ()
        known = {*self.words, *JOINING.split()}
        found = re.findall(r"[^\W\d_]+", prompt.lower())
        return tuple(dict.fromkeys(word for word in found if not known & {word, word.removesuffix("s")}))

    @property
    def folder(self) -> Path:
        """The pipeline's folder, fetched when it is not here yet, without the parts that lie in one file. Raises
        BadInput when that fails."""
        shipped = SHIPPED / self.location
        lacks = [part for part in PARTS if (shipped / part).is_dir() and part not in self.held]
        if self.single_file and (shipped / "tokenizer").is_dir() and not lacks:
            return shipped
        return find(self.source, _patterns(self))

    @property
    def held(self) -> frozenset[str]:
        """The parts that lie in one file; none where there is no such file. A file of the Hub is whole."""
        if is_repo(self.file.partition(":")[0]):
            return frozenset(LAYOUTS["sdxl"].parts)
        return read_header(resolve(self.file)).parts if self.file else frozenset()

    @property
    def single_file(self) -> Path | None:
        """The file that holds the weights of all or most parts."""
        return file_at(self.file)

    @property
    def weights_file(self) -> Path | None:
        """The denoiser weights that replace the pipeline's (a file, or a folder with its own config)."""
        return file_at(self.weights)

    @property
    def lora_file(self) -> Path | None:
        """The LoRA that is fused into the denoiser's weights."""
        return file_at(self.lora)

    @property
    def other_weights(self) -> tuple[str, ...]:
        """Where the files are that change the pipeline's denoiser, named as `weights` and `lora` are."""
        return tuple(filter(None, (self.weights, self.lora)))

    @property
    def file_identity(self) -> tuple[str, ...]:
        """What the single file is, where there is one: text encoders lie in it, too."""
        return (identity_at(self.file),) if self.file else ()

    @property
    def other_identities(self) -> tuple[str, ...]:
        """The commit and file, or a digest of the contents, of the single file and each of `other_weights`."""
        return (*self.file_identity, *map(identity_at, self.other_weights))


def file_at(location: str) -> Path | None:
    """ "repository[@revision]:file", "repository", or a path -> the file or folder, fetched when it is not here yet;
    None of ""."""
    repo, _, file = location.partition(":")
    if not location or not is_repo(repo):
        return resolve(location) if location else None
    return find(repo, [file] if file else ["config.json", "*.fp16.safetensors"]) / file


def identity_at(location: str) -> str:
    """The commit and file of the Hub, or a digest of what lies there."""
    repo, _, file = location.partition(":")
    return f"{source_identity(repo)}:{file}" if is_repo(repo) else source_identity(location)


def _patterns(preset: Preset) -> list[str]:
    """What to fetch of a pipeline's repository: configurations, words, and one set of weights of each part that is
    used."""
    weights = f"*.{preset.variant}.safetensors" if preset.variant else "*.safetensors"
    # Of a repository that nothing is known of, one precision and no second average: their names have a dot more.
    names = () if preset.variant or preset.revision else names_in(preset.source)
    held = preset.held | ({"unet", "transformer"} if preset.weights else set[str]())
    parts = [part for part in PARTS if part not in held]
    plain = {part: [name for name in names if PLAIN.fullmatch(name) and name.startswith(f"{part}/")] for part in parts}
    files = (file for part in parts for file in plain[part] or [f"{part}/{weights}"])
    return ["model_index.json", "*/*.json", "tokenizer*/*", *files]
