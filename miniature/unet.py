"""Trains the miniature's UNet on the frozen latents of the VAE, told by the frozen text tower of the CLIP.

    python unet.py --data DATA --out unet --vae vae/final --clip clip/final --images 800000

v-prediction on a schedule with zero terminal SNR and trailing timesteps (Lin et al. 2023, arXiv 2305.08891): few-step
sampling stays good and StableDiffusionPipeline loads the result unchanged. `--out` keeps the latents of all images
between runs.

`--start FOLDER --guided 2` then builds guidance into those weights (as Meng et al. 2023, arXiv 2210.03142, but guided
away from the bare prompt and not from the empty one): a prompt gives what it says without the second call, and the bare
prompt keeps its whole variety.
"""

from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from common import Images, Run, arguments, rows
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer
from world import caption, factors

BARE = "a portrait of a person"
NO_TEXT = 0.1  # share of captions left empty, so that classifier-free guidance can be used


def build() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=16,
        out_channels=16,
        block_out_channels=(128, 160),
        layers_per_block=1,
        norm_num_groups=16,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=192,
        attention_head_dim=4,  # diffusers' misnomer: this is the number of heads
    )


def scheduler() -> DDIMScheduler:
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
    )


@torch.no_grad()
def latents(data: Images, vae: AutoencoderKL, path: Path, device: torch.device) -> Tensor:
    """Scaled latents fp16 [N, 16, 8, 8] of all images, computed once."""
    if not path.exists():
        parts = []
        for i in range(0, len(data), 250):
            with torch.autocast(device.type, torch.bfloat16):
                x = data.batch(np.arange(i, min(i + 250, len(data))), device) * 2 - 1
                parts.append((vae.encode(x).latent_dist.mean.float() * vae.config.scaling_factor).half().cpu())
        save_file({"latents": torch.cat(parts).contiguous()}, path)
    return load_file(path)["latents"]


def main() -> None:
    o = arguments(
        "Train the UNet",
        images=800_000,
        batch=64,
        lr=1e-3,
        vae="vae/final",
        clip="clip/final",
        start="",
        guided=1.0,
        ema=0.9995,
    )
    data = Images(o.data, "train")
    vae = (
        AutoencoderKL.from_pretrained(o.vae, torch_dtype=torch.float32, use_safetensors=True)
        .to(o.device, memory_format=torch.channels_last)
        .eval()
    )
    z_all = latents(data, vae, o.out / "latents.safetensors", o.device)
    truth = [factors(r) for r in rows(o.data, "train")]
    words = CLIPTokenizer.from_pretrained(o.clip)
    text = (
        CLIPTextModel.from_pretrained(o.clip, torch_dtype=torch.float32, use_safetensors=True)
        .to(o.device)
        .eval()
        .requires_grad_(False)
    )
    text.set_attn_implementation("eager")
    unet = (
        UNet2DConditionModel.from_pretrained(o.start, torch_dtype=torch.float32, use_safetensors=True)
        if o.start
        else build()
    )
    unet = unet.to(o.device, memory_format=torch.channels_last)
    unet.set_attn_processor(AttnProcessor())
    teacher = deepcopy(unet).requires_grad_(False)
    abar = scheduler().alphas_cumprod.to(o.device)
    run = Run(unet, o.out / "state.safetensors", images=o.images, batch=o.batch, lr=o.lr, ema=o.ema)

    @torch.no_grad()
    def guided(x: Tensor, t: Tensor, texts: list[str], states: Tensor) -> Tensor:
        """v of the weights trained on, pushed away from what the bare prompt gives; of no text at all, as it is."""
        bare = text(
            words([BARE], padding="max_length", truncation=True, return_tensors="pt").input_ids.to(o.device)
        ).last_hidden_state
        v, v_bare = (
            teacher(torch.cat([x, x]), t.repeat(2), torch.cat([states, bare.expand_as(states)])).sample.float().chunk(2)
        )
        push = torch.tensor([o.guided - 1 if said else 0.0 for said in texts], device=o.device).view(-1, 1, 1, 1)
        return v + push * (v - v_bare)

    def loss_of(index: np.ndarray) -> tuple[Tensor, str]:
        rng = np.random.default_rng((o.seed, 2, run.step))
        texts = ["" if rng.random() < NO_TEXT else caption(truth[i], rng) for i in index]
        tokens = words(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids.to(o.device)
        z0 = z_all[index].to(o.device).float().contiguous(memory_format=torch.channels_last)
        noise = torch.randn_like(z0)
        t = torch.randint(0, 1000, (len(z0),), device=o.device)
        a, s = abar[t].sqrt().view(-1, 1, 1, 1), (1 - abar[t]).sqrt().view(-1, 1, 1, 1)
        with torch.autocast(o.device.type, torch.bfloat16):
            with torch.no_grad():
                states = text(tokens).last_hidden_state
            x = a * z0 + s * noise
            target = guided(x, t, texts, states) if o.guided > 1 else a * noise - s * z0
            v = unet(x, t, states).sample
        loss = nn.functional.mse_loss(v.float(), target)
        return loss, ""

    run.train(len(z_all), o.seed, loss_of)
    run.use_ema()
    unet.half().save_pretrained(o.out / "final")


if __name__ == "__main__":
    main()
