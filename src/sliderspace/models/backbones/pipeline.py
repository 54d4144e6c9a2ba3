"""What every diffusers pipeline folder shares: its parts, loaded one at a time when needed, and its autoencoder."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from torch import Tensor

from sliderspace.core.errors import BadInput
from sliderspace.core.settings import Quantize
from sliderspace.core.sizes import Size
from sliderspace.core.text import is_broken
from sliderspace.models.backbones.base import Backbone, Condition
from sliderspace.models.backbones.folder import check_parts, image_size_of, read_config, read_weights, variant_of
from sliderspace.models.backbones.lora import Lora, attach, fuse
from sliderspace.models.backbones.samplers import Schedule
from sliderspace.models.backbones.single_file import part_of, read_header
from sliderspace.models.quiet import quiet_loading

Read = TypeVar("Read")
TEXTS = 8  # prompts a text encoder reads at a time, so that a thousand fit
BROKEN = (
    OSError,
    ValueError,
    KeyError,
    RuntimeError,
    SafetensorError,
)  # what the two libraries raise for files they cannot use


@dataclass(frozen=True)
class Setup:
    """How a pipeline folder is to be run: its working point, and what decides speed and memory."""

    name: str
    identity: str
    steps: int
    guidance: float
    device: torch.device
    dtype: torch.dtype  # of the networks; latents and sampler arithmetic stay float32
    sampler: str = ""  # empty: the folder's own
    timesteps: tuple[int, ...] = ()  # the times a distilled model was trained at, where they are not evenly spaced
    spacing: str = ""  # diffusers' timestep_spacing in place of the folder's own
    prediction: str = ""  # what the denoiser predicts, in place of what the folder says
    resolution: Size = 0  # pixels; 0: the folder's own
    file: Path | None = None  # one file that holds the weights of all or most parts; the folder has the others
    weights: Path | None = None  # a file of denoiser weights in place of the folder's (DMD2, Lightning)
    loras: tuple[Lora, ...] = ()  # fused into the denoiser's weights, in this order
    decoder: Path | None = None  # the folder of a small AutoencoderTiny that decodes in place of the VAE ...
    decoder_for_people: bool = False  # ... the pictures that people look at, too
    quantize: Quantize = "none"
    checkpointing: bool = False


class PipelineBackbone(Backbone):
    """A folder with model_index.json. Families say their parts, how they encode prompts and how they predict."""

    needs: tuple[str, ...]  # files without which the libraries would make something up
    denoiser_class: str
    pipeline_class: str  # of diffusers, that runs such a folder
    has_small_decoders = True  # whether its latents are such as an AutoencoderTiny reads

    @classmethod
    @abstractmethod
    def usual(cls, folder: Path) -> tuple[int, float]:
        """Steps and guidance for a folder that no preset knows."""

    @classmethod
    @abstractmethod
    def latent_shape_of(cls, folder: Path, size: Size) -> tuple[int, int, int]:
        """Channels, height and width of latents, for images of a size in pixels (0: the model's own). Raises BadInput
        for a size that the model has not."""

    @classmethod
    @abstractmethod
    def sampling_of(cls, folder: Path, setup: Setup) -> tuple[str, Schedule]:
        """The sampler's name and table. Raises BadInput for a sampler or a number of steps that cannot be had."""

    def __init__(self, folder: Path, setup: Setup) -> None:
        check_parts(folder, self.needs)
        self.folder, self.setup = folder, setup
        self.name, self.identity = setup.name, setup.identity
        self.device, self.dtype = setup.device, setup.dtype
        self.text_encoders = {}
        self.guidance = setup.guidance
        self.latent_shape = self.latent_shape_of(folder, setup.resolution)
        self.image_size = image_size_of(folder, self.latent_shape)
        self.schedule = self.sampling_of(folder, setup)[1]

    def config(self, part: str) -> dict[str, Any]:
        """The configuration of a part, as it lies in the folder."""
        return read_config(self.folder, part)

    @cached_property
    def denoiser(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        dtype = torch.float32 if self.setup.loras else self.dtype
        if self.setup.weights is not None:
            model = self._with_other_weights(self.setup.weights, dtype)
        else:
            options = quantization(self.setup.quantize, self.dtype)
            model = self.part(self.denoiser_class, self.component, dtype, **options)
        for lora in self.setup.loras:
            self._apply(fuse, model, lora, self.component)
        if self.setup.loras:
            with quiet_loading():  # diffusers warns of a cast that it would do itself while loading
                model = _frozen(model.to(self.dtype), self.device)
        if self.setup.checkpointing:
            model.enable_gradient_checkpointing()
        return self.tuned(model)

    def tuned(self, denoiser: Any) -> Any:
        """The denoiser with what makes it quicker on this device, and changes no more than a rounding."""
        return denoiser

    def _with_other_weights(self, file: Path, dtype: torch.dtype) -> Any:
        import diffusers

        if file.is_dir():
            return self.part(self.denoiser_class, "", dtype, folder=file)
        try:
            with torch.device("meta"):  # its own random values would be twice the size of what replaces them
                model = getattr(diffusers, self.denoiser_class).from_config(self.config(self.component))
            model.load_state_dict(read_weights(file), assign=True)
            model = model.to(dtype)
        except BROKEN as error:
            raise BadInput(
                f"{file} does not fit the {self.component} of {self.folder}: {str(error).splitlines()[0]}"
            ) from error
        return _frozen(model, self.device)

    def _apply(self, add: Callable[[Any, Lora, str, str], None], model: Any, lora: Lora, part: str) -> None:
        try:
            add(model, lora, self.pipeline_class, part)
        except BROKEN as error:
            why = str(error).splitlines()[0]
            raise BadInput(f"{lora.file} does not fit the {part} of {self.name}: {why}") from error

    @cached_property
    def decoder(self) -> Any:
        """What decodes previews: the small autoencoder where there is one, else the folder's own."""
        if self.setup.decoder is not None:
            return self.part("AutoencoderTiny", "", self.dtype, folder=self.setup.decoder)
        return self.vae

    @cached_property
    def vae(self) -> Any:
        """The folder's own autoencoder, which also encodes: a small decoder's encoder need not be trained."""
        vae = self.part(self.config("vae").get("_class_name", "AutoencoderKL"), "vae", self.dtype)
        if self.setup.checkpointing:
            self.checkpoint_vae(vae)
        return vae

    def checkpoint_vae(self, vae: Any) -> None:
        """Let the folder's own autoencoder recompute its activations, where it can."""
        if vae._supports_gradient_checkpointing:
            vae.enable_gradient_checkpointing()

    def part(self, name: str, subfolder: str, dtype: torch.dtype, *, folder: Path | None = None, **options: Any) -> Any:
        """A frozen model of diffusers or transformers from a subfolder. Raises BadInput when its files cannot be
        used."""
        import diffusers
        import transformers

        if folder is None and subfolder in self.in_file:
            return self._part_in_file(name, subfolder, dtype, **options)
        folder = folder or self.folder
        library: Any = diffusers if hasattr(diffusers, name) else transformers
        key = "torch_dtype" if library is diffusers else "dtype"
        try:
            variant = variant_of(folder / subfolder)
            with quiet_loading():
                model, found = getattr(library, name).from_pretrained(
                    folder,
                    subfolder=subfolder,
                    use_safetensors=True,
                    variant=variant,
                    output_loading_info=True,
                    **{key: dtype},
                    **options,
                )
        except BROKEN as error:
            raise BadInput(
                f"the {subfolder or name} in {folder} cannot be loaded: {str(error).splitlines()[0]}"
            ) from error
        if found["missing_keys"]:  # the libraries would fill them with random numbers
            some = min(found["missing_keys"])
            raise BadInput(
                f"the {subfolder or name} in {folder} lacks {len(found['missing_keys'])} parts, such as {some}"
            )
        return model.eval().requires_grad_(False) if "quantization_config" in options else _frozen(model, self.device)

    @cached_property
    def in_file(self) -> frozenset[str]:
        """The parts that lie in the single file; none without one."""
        return read_header(self.setup.file).parts if self.setup.file else frozenset()

    def _part_in_file(self, name: str, part: str, dtype: torch.dtype, **options: Any) -> Any:
        assert self.setup.file
        try:
            model = part_of(self.setup.file, self.folder, self.pipeline_class, name, part, dtype, **options)
        except BROKEN as error:
            raise BadInput(f"the {part} in {self.setup.file} cannot be loaded: {str(error).splitlines()[0]}") from error
        return model.eval().requires_grad_(False) if options else _frozen(model, self.device)

    def tokenizer(self, name: str, subfolder: str = "tokenizer") -> Any:
        import transformers

        try:
            Tokenizer: Any = getattr(transformers, name)
            with quiet_loading():
                return Tokenizer.from_pretrained(self.folder, subfolder=subfolder)
        except BROKEN as error:
            raise BadInput(
                f"the {subfolder} in {self.folder} cannot be loaded: {str(error).splitlines()[0]}"
            ) from error

    def read_texts(
        self, kind: str, subfolder: str, dtype: torch.dtype, ids_PL: Tensor, read: Callable[[Any, Tensor], Read]
    ) -> list[Read]:
        """`read(encoder, ids_BL)` of a text encoder for each batch of rows; the encoder is loaded once and then let go
        of, unless it is to be kept."""
        if subfolder not in self.text_encoders:
            encoder = self.part(kind, subfolder, dtype)
            for lora in self.setup.loras:
                self._apply(attach, encoder, lora, subfolder)
            self.text_encoders[subfolder] = encoder
        rows = [read(self.text_encoders[subfolder], ids_BL.to(self.device)) for ids_BL in ids_PL.split(TEXTS)]
        self.let_go_of_text_encoders()
        return rows

    def condition_of(self, **batches: Sequence[Tensor]) -> Condition:
        """The condition of encoded texts, in batches, the last row being the empty prompt's: that one stays where the
        denoiser is, and the others wait in the machine's own memory."""
        rows = {n: torch.cat([t.cpu() for t in parts]) for n, parts in batches.items()}
        kept = {n: t.to(self.dtype) if t.is_floating_point() else t for n, t in rows.items()}
        return Condition({n: t[:-1] for n, t in kept.items()}, {n: t[-1].to(self.device) for n, t in kept.items()})

    def check_prompts(self, prompts: Any, tokenizer: Any, limit: int) -> None:
        """Longer prompts than the encoder's window are an error, since their end would be silently lost; so are empty
        ones, and what no tokenizer takes."""
        for prompt in prompts:
            if not prompt.strip():
                raise BadInput("the prompt is empty: say what to draw")
            if is_broken(prompt):
                raise BadInput("the prompt is not text in UTF-8: type it in a terminal of that encoding")
            if (length := len(tokenizer(prompt).input_ids)) > limit:
                raise BadInput(
                    f"the prompt has {length} tokens and {self.name} reads {limit}: shorten “{prompt[:60]}…”"
                )

    def decode(self, z_BCHW: Tensor) -> Tensor:
        return self._decoded(self.decoder, z_BCHW)

    def draw(self, z_BCHW: Tensor) -> Tensor:
        return self._decoded(self.vae if self.draws_apart else self.decoder, z_BCHW)

    @property
    def draws_apart(self) -> bool:
        return self.setup.decoder is not None and not self.setup.decoder_for_people

    def _decoded(self, vae: Any, z_BCHW: Tensor) -> Tensor:
        config = vae.config
        z = z_BCHW / (config.scaling_factor or 1) + (getattr(config, "shift_factor", None) or 0)
        z = z.to(self.dtype).contiguous(memory_format=torch.channels_last)
        return vae.decode(z).sample.float() / 2 + 0.5

    @torch.no_grad()
    def encode_images(self, images01: Tensor) -> Tensor:
        config, x = self.vae.config, (images01 * 2 - 1).to(self.device, self.dtype, memory_format=torch.channels_last)
        out = self.vae.encode(x)
        z = (out.latent_dist.mean if hasattr(out, "latent_dist") else out.latents).float()
        return (z - (getattr(config, "shift_factor", None) or 0)) * (config.scaling_factor or 1)


def quantization(quantize: Quantize, dtype: torch.dtype) -> dict[str, Any]:
    """What `from_pretrained` wants for a base in 4 or 8 bits (bitsandbytes). Raises BadInput without that extra."""
    if quantize == "none":
        return {}
    from importlib.util import find_spec

    from diffusers import BitsAndBytesConfig

    if find_spec("bitsandbytes") is None:
        raise BadInput("a base in 4 or 8 bits needs bitsandbytes: pip install 'sliderspace[quantize]'")
    if quantize == "8bit":
        return {"quantization_config": BitsAndBytesConfig(load_in_8bit=True)}
    return {
        "quantization_config": BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype
        )
    }


def _frozen(module: Any, device: torch.device) -> Any:
    flat = all(p.ndim < 5 for p in module.parameters())  # a layer over video frames has no such format
    return module.to(device, memory_format=torch.channels_last if flat else None).eval().requires_grad_(False)
