"""Seeds -> stored (xₜ, φ(x̃₀,t)). The "without slider" embedding is computed here, once, and never again.

Trajectory j starts from noise of seed (run seed, "trajectory", j) and shows prompt j mod P. Those from `samples` on are
held out: neither PCA nor training sees them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from sliderspace.concepts.pictures import Pictures
from sliderspace.core.batches import in_batches
from sliderspace.core.errors import DamagedFile, SliderSpaceError
from sliderspace.core.seeds import seed_for
from sliderspace.models.backbones.base import Backbone, Condition
from sliderspace.models.encoders import Encoder
from sliderspace.storage.files import is_done, load_tensors, save_tensors

Drawn = tuple[Tensor, Tensor, list[int]]  # latents [B, T, C, H, W], embeddings [B, T, D], and the prompt each shows
SHARD = 128  # trajectories a file: what an interruption can cost


@dataclass(frozen=True)
class Trajectories:
    """n trajectories at T embedded steps: `x_NTCHW` float16, `z_NTD` float32 unit vectors, `prompt_N` and `steps_T`
    int64."""

    x_NTCHW: Tensor
    z_NTD: Tensor
    prompt_N: Tensor
    steps_T: Tensor

    def __len__(self) -> int:
        return len(self.x_NTCHW)

    def part(self, first: int, last: int) -> "Trajectories":
        """Trajectories first … last−1."""
        return Trajectories(self.x_NTCHW[first:last], self.z_NTD[first:last], self.prompt_N[first:last], self.steps_T)


@torch.no_grad()
def finished(backbone: Backbone, condition: Condition, data: Trajectories, batch: int) -> Iterator[Tensor]:
    """The finished images01 of stored trajectories, batch after batch: at the last step the preview is the image."""

    def draw(part: range) -> Tensor:
        rows = slice(part.start, part.stop)
        x = data.x_NTCHW[rows, -1].float().to(backbone.device)
        x0 = backbone.predict(
            x, data.steps_T[-1:].expand(len(x)).to(x.device), condition.rows(data.prompt_N[rows].tolist())
        )
        return backbone.decode(x0).clamp(0, 1)

    yield from (images01 for _, images01 in in_batches(0, len(data), batch, draw))


@torch.no_grad()
def walk(
    backbone: Backbone,
    encoder: Encoder,
    condition: Condition,
    seeds: Sequence[int],
    prompt_B: Sequence[int],
    embed_T: Sequence[int],
) -> tuple[Tensor, Tensor]:
    """One batch through the sampler: latents [B, T, C, H, W] and embeddings [B, T, D] at the steps `embed_T`."""
    x, rows = backbone.start(seeds), condition.rows(prompt_B)
    kept_x: list[Tensor] = []
    kept_z: list[Tensor] = []
    for index in range(backbone.steps):
        x0 = backbone.predict(x, torch.full((len(x),), index, device=x.device), rows)
        if index in embed_T:
            kept_x.append(x)
            kept_z.append(encoder(backbone.decode(x0)))
        x = backbone.step(x, x0, index, seeds)
    return torch.stack(kept_x, 1), torch.stack(kept_z, 1)


def from_prompts(
    backbone: Backbone, encoder: Encoder, condition: Condition, run_seed: int, embed_T: Sequence[int]
) -> Callable[[range], Drawn]:
    """Trajectory j starts from noise of its own and shows prompt j modulo their number."""

    def draw(index: range) -> Drawn:
        prompts = [j % len(condition) for j in index]
        return *walk(backbone, encoder, condition, _seeds(run_seed, index), prompts, embed_T), prompts

    return draw


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
        shown, seeds = [j % len(pictures) for j in index], _seeds(run_seed, index)
        prompts = [n % len(condition) for n in shown]
        rows = condition.rows(prompts)
        z = backbone.encode_images(torch.cat([pictures.images01(n, n + 1) for n in shown]))
        kept_x = [backbone.diffuse(z, t, seeds) for t in embed_T]
        clean = (
            backbone.predict(x, torch.full((len(x),), t, device=x.device), rows)
            for t, x in zip(embed_T, kept_x, strict=True)
        )
        return torch.stack(kept_x, 1), torch.stack([encoder(backbone.decode(x0)) for x0 in clean], 1), prompts

    return draw


def _seeds(run_seed: int, index: range) -> list[int]:
    return [seed_for(run_seed, "trajectory", j) for j in index]


def sample(
    draw: Callable[[range], Drawn], folder: Path, *, count: int, embed_T: Sequence[int], batch: int, fingerprint: str
) -> Iterator[int]:
    """Put trajectories 0 … count−1 into shards of `folder`, skipping whole shards already there; yields how many are
    done.

    Raises SliderSpaceError when an embedding is not finite (a damaged model or too coarse a precision).
    """
    for path, first, last, made_from in shards(folder, count, fingerprint):
        if not is_done(path, made_from):
            parts: list[Drawn] = []
            for part, drawn in in_batches(first, last, batch, draw):
                parts.append(drawn)
                yield part.stop
            _save_shard(path, parts, first, embed_T, made_from)
        yield last


def _save_shard(path: Path, parts: list[Drawn], first: int, embed_T: Sequence[int], fingerprint: str) -> None:
    x, z = torch.cat([part[0] for part in parts]).cpu(), torch.cat([part[1] for part in parts]).cpu()
    if not (torch.isfinite(x).all() and torch.isfinite(z).all()):
        raise SliderSpaceError(
            "the model gave images that are not finite numbers: try --precision float32, or check the weights"
        )
    prompt_N = torch.tensor([p for part in parts for p in part[2]])
    tensors = {"x": x.half(), "z": z, "prompt": prompt_N, "steps": torch.tensor(list(embed_T))}
    save_tensors(path, tensors, kind="trajectories", fingerprint=fingerprint, first=first)


def shard_path(folder: Path, first: int, last: int | None = None) -> Path:
    """A whole shard, or one cut short at trajectory `last`: under another name, so that runs of several sizes share the
    whole ones."""
    cut = last is not None and last - first < SHARD
    return folder / (f"{first:06d}-{last:06d}.safetensors" if cut else f"{first:06d}.safetensors")


def shards(folder: Path, count: int, fingerprint: str) -> Iterator[tuple[Path, int, int, str]]:
    """File, first and last trajectory and stamp of each shard. With a larger count, whole shards stay."""
    for first in range(0, count, SHARD):
        last = min(first + SHARD, count)
        yield shard_path(folder, first, last), first, last, f"{fingerprint}:{last - first}"


def load(folder: Path, count: int, fingerprint: str) -> Trajectories:
    """Trajectories 0 … count−1 of a folder. Raises DamagedFile when a shard is missing, damaged, or of another run."""
    parts: list[dict[str, Tensor]] = []
    for path, _, _, made_from in shards(folder, count, fingerprint):
        if not is_done(path, made_from):
            raise DamagedFile(
                f"{path} is missing or belongs to other settings: run `sliderspace sample` on this folder again"
            )
        parts.append(load_tensors(path, kind="trajectories")[0])
    x, z, prompt = (torch.cat([p[key] for p in parts]) for key in ("x", "z", "prompt"))
    if len(x) != count:
        raise DamagedFile(
            f"{folder} holds {len(x)} trajectories where {count} are due: delete the folder and run again"
        )
    return Trajectories(x, z, prompt, parts[0]["steps"])
