"""Seeds -> stored (xₜ, φ(x̃₀,t)). The "without slider" embedding is computed here, once, and never again.

Trajectory j starts from noise of seed (run seed, "trajectory", j) and shows prompt j mod P. Those from `samples` on are
held out: neither PCA nor training sees them. N trajectories, T embedded steps, B rows.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from sliderspace.concepts.pictures import Pictures
from sliderspace.core.batches import BatchSize, in_batches
from sliderspace.core.errors import DamagedFile, SliderSpaceError
from sliderspace.core.seeds import seed_for
from sliderspace.method.denoise import decoded, denoise, predict
from sliderspace.models.backbones.base import Backbone, Condition
from sliderspace.models.encoders import Encoder
from sliderspace.storage.files import is_done, open_tensors, save_tensors
from sliderspace.storage.tensors import TensorFile

Drawn = tuple[
    Tensor, Tensor, list[int]
]  # latents float16 [B, T, C, H, W], embeddings [B, T, D], prompt of each; on the CPU
Latents = Callable[
    [Sequence[int], Sequence[int]], Tensor
]  # trajectories [B], embedded steps [B] -> xₜ float16 [B, C, H, W]
STORED = torch.float16  # of latents
SHARD = 128  # trajectories a file, where they are small: what an interruption can cost
SHARD_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Trajectories:
    """N trajectories at T embedded steps: embeddings `z_NTD` float32 unit vectors, `prompt_N` and `steps_T` int64.

    Latents are read when asked for: five thousand of a large model would fill the memory.
    """

    latents: Latents
    z_NTD: Tensor
    prompt_N: Tensor
    steps_T: Tensor
    first: int = 0

    @classmethod
    def in_memory(cls, x_NTCHW: Tensor, z_NTD: Tensor, prompt_N: Tensor, steps_T: Tensor) -> "Trajectories":
        """Trajectories whose latents are a tensor."""
        return cls(lambda n, t: x_NTCHW[list(n), list(t)], z_NTD, prompt_N, steps_T)

    def __len__(self) -> int:
        return len(self.z_NTD)

    def part(self, first: int, last: int) -> "Trajectories":
        """Trajectories first … last−1."""
        rows = slice(first, last)
        return replace(self, z_NTD=self.z_NTD[rows], prompt_N=self.prompt_N[rows], first=self.first + first)

    def x(self, trajectory_B: Tensor, step_B: Tensor) -> Tensor:
        """xₜ float32 [B, C, H, W] of trajectories at embedded steps (positions 0 … T−1)."""
        return self.latents((trajectory_B + self.first).tolist(), step_B.tolist()).float()


@torch.no_grad()
def finished(backbone: Backbone, condition: Condition, data: Trajectories, batch: int | BatchSize) -> Iterator[Tensor]:
    """The finished images01 of stored trajectories, batch after batch: at the last step the preview is the image."""

    def work(part: range) -> Tensor:
        index_B = torch.tensor(part)
        x = data.x(index_B, torch.full_like(index_B, len(data.steps_T) - 1)).to(backbone.device)
        return predict(backbone, condition.rows(data.prompt_N[index_B].tolist()), x, int(data.steps_T[-1]))

    for _, x0 in in_batches(0, len(data), batch, work):
        yield from decoded(backbone, x0)


def from_prompts(
    backbone: Backbone, encoder: Encoder, condition: Condition, run_seed: int, embed_T: Sequence[int]
) -> Callable[[range], Drawn]:
    """Trajectory j starts from noise of its own and shows prompt j modulo their number."""

    def draw(index: range) -> Drawn:
        prompts = [j % len(condition) for j in index]
        x, z = embedded(backbone, encoder, condition.rows(prompts), _seeds(run_seed, index), embed_T)
        return x, z, prompts

    return draw


def embedded(
    backbone: Backbone, encoder: Encoder, shown: Condition, seeds: Sequence[int], embed_T: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Whole trajectories: latents [B, T, C, H, W] as stored and embeddings [B, T, D] at the steps `embed_T`, on the
    CPU."""
    kept_x: list[Tensor] = []
    kept_z: list[Tensor] = []
    # φ belongs to the very latents that training reads: a trajectory goes on from them as they are stored.
    for index, x, x0 in denoise(backbone, shown, seeds, kept=STORED):
        if index in embed_T:
            kept_x.append(x.to("cpu", STORED))
            kept_z.append(_embedding(backbone, encoder, x0))
    return torch.stack(kept_x, 1), torch.stack(kept_z, 1)


def from_pictures(
    backbone: Backbone,
    encoder: Encoder,
    condition: Condition,
    pictures: Pictures,
    run_seed: int,
    embed_T: Sequence[int],
) -> Callable[[range], Drawn]:
    """Trajectory j is picture j modulo their number, noised as at each step by noise of its own: what the model makes
    of given images.

    The condition has one prompt for all pictures, or one a picture.
    """

    @torch.no_grad()
    def draw(index: range) -> Drawn:
        chosen = [j % len(pictures) for j in index]
        prompts = [n % len(condition) for n in chosen]
        shown, seeds = condition.rows(prompts), _seeds(run_seed, index)
        z = torch.cat([backbone.encode_images(pictures.images01(n, n + 1)) for n in chosen])
        kept_x = [backbone.diffuse(z, t, seeds).to(STORED) for t in embed_T]
        clean = (predict(backbone, shown, x.float(), t) for t, x in zip(embed_T, kept_x, strict=True))
        kept_z = [_embedding(backbone, encoder, x0) for x0 in clean]
        return torch.stack(kept_x, 1).cpu(), torch.stack(kept_z, 1), prompts

    return draw


def _embedding(backbone: Backbone, encoder: Encoder, x0: Tensor) -> Tensor:
    return torch.cat([encoder(images01).cpu() for images01 in decoded(backbone, x0, clamp=False)])


def _seeds(run_seed: int, index: range) -> list[int]:
    return [seed_for(run_seed, "trajectory", j) for j in index]


# ---- on disk


@dataclass(frozen=True)
class Shard:
    """A file of trajectories first … last−1, and the stamp it has when it is whole."""

    path: Path
    first: int
    last: int
    stamp: str

    def is_done(self) -> bool:
        return is_done(self.path, self.stamp)


def shard_size(latent_shape: Sequence[int], steps: int) -> int:
    """Trajectories a file: a power of two, so few that a file stays small where latents are large."""
    each = steps * torch.Size(latent_shape).numel() * STORED.itemsize
    fit = max(1, SHARD_BYTES // each)
    return min(SHARD, 2 ** (fit.bit_length() - 1))


def shards(folder: Path, count: int, size: int, fingerprint: str) -> list[Shard]:
    """The files of trajectories 0 … count−1. One cut short has another name, so that runs of several sizes share the
    whole ones."""
    found: list[Shard] = []
    for first in range(0, count, size):
        last = min(first + size, count)
        name = f"{first:06d}.safetensors" if last - first == size else f"{first:06d}-{last:06d}.safetensors"
        found.append(Shard(folder / name, first, last, f"{fingerprint}:{last - first}"))
    return found


def sample_shard(
    draw: Callable[[range], Drawn], shard: Shard, *, embed_T: Sequence[int], batch: int | BatchSize
) -> Iterator[int]:
    """Draw and store one shard; yields how many of its trajectories are done.

    Raises SliderSpaceError when an embedding is not finite (a damaged model or too coarse a precision).
    """
    parts: list[Drawn] = []
    for part, drawn in in_batches(shard.first, shard.last, batch, draw):
        if not (torch.isfinite(drawn[0]).all() and torch.isfinite(drawn[1]).all()):
            raise SliderSpaceError(
                "the model gave images that are not finite numbers: try --precision float32, or check the weights"
            )
        parts.append(drawn)
        yield part.stop - shard.first
    tensors = {
        "x": torch.cat([x for x, _, _ in parts]),
        "z": torch.cat([z for _, z, _ in parts]),
        "prompt": torch.tensor([p for _, _, prompts in parts for p in prompts]),
        "steps": torch.tensor(list(embed_T)),
    }
    save_tensors(shard.path, tensors, kind="trajectories", fingerprint=shard.stamp, first=shard.first)


def load(found: Sequence[Shard]) -> Trajectories:
    """The trajectories of some shards: embeddings in memory, latents on disk until they are asked for.

    Raises DamagedFile when a shard is missing, damaged, or of another run.
    """
    for shard in found:
        if not shard.is_done():
            raise DamagedFile(
                f"{shard.path} is missing or belongs to other settings: run `sliderspace sample` on this folder again"
            )
    files = [_opened(shard) for shard in found]
    if len({(file.shapes["x"][1:], file.shapes["z"][1:]) for file in files}) > 1:
        raise DamagedFile(f"the files of {found[0].path.parent} do not fit each other: delete it and run again")
    z_NTD, prompt_N = (torch.cat([file.whole(name) for file in files]) for name in ("z", "prompt"))
    size = found[0].last - found[0].first

    def latents(trajectory_B: Sequence[int], step_B: Sequence[int]) -> Tensor:
        rows = [files[n // size].rows("x", [(n % size, t)]) for n, t in zip(trajectory_B, step_B, strict=True)]
        return torch.cat(rows)

    return Trajectories(latents, z_NTD, prompt_N, files[0].whole("steps"))


def _opened(shard: Shard) -> TensorFile:
    count = shard.last - shard.first
    due = {"x": f"float16 {count} T C H W", "z": f"float32 {count} T D", "prompt": f"int64 {count}", "steps": "int64 T"}
    return open_tensors(shard.path, kind="trajectories", expect=due)
