"""Samplers as tables. Every one is the same affine map, with numbers read from a diffusers scheduler:

    xₜ = a·x₀ + s·ε        x_next = a'·x̃₀ + s'·ε̂ + f·noise,   ε̂ = (xₜ − a·x̃₀)/s

DDIM and Euler have f = 0; ancestral and consistency samplers throw part (or all) of ε̂ away and draw new noise.
diffusers keeps Euler's latents in units of σ = s/a; ours stay at unit variance, and the two differ by the factor a
only.
"""

from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import Tensor

from sliderspace.core.errors import BadInput


@dataclass(frozen=True)
class Schedule:
    """One number a step [T] each, on the CPU: what the network is told as time, and the coefficients of the map
    above."""

    time_T: Tensor
    a_T: Tensor
    s_T: Tensor
    a_next_T: Tensor
    s_next_T: Tensor
    fresh_T: list[float]
    start: float = 1.0  # the size of the noise a trajectory begins with
    ending: tuple[float, float] = (1.0, 0.0)  # of x̃₀ and xₜ at the last step: together they are the image

    def __len__(self) -> int:
        return len(self.time_T)

    def step(self, x: Tensor, x0: Tensor, index: int) -> Tensor:
        """The deterministic part of a step."""
        eps = (x - self.a_T[index] * x0) / self.s_T[index]
        return self.a_next_T[index] * x0 + self.s_next_T[index] * eps

    def preview(self, x: Tensor, x0: Tensor, step_B: Tensor) -> Tensor:
        """What rows at steps `step_B` say of the image: the network's x̃₀, at the last step the very image.

        The two differ there by a trace of ε̂ where the sampler ends above zero noise (`set_alpha_to_one: false`, or
        `final_sigmas_type: sigma_min`). Users get the image, so that is what is embedded and trained on.
        """
        if self.ending == (1.0, 0.0):
            return x0
        last = (step_B == len(self) - 1).view(-1, 1, 1, 1).to(x0.device)
        return torch.where(last, self.ending[0] * x0 + self.ending[1] * x, x0)

    def at(self, step_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Time [B], and a, s [B, 1, 1, 1], of rows at their own steps, on the device of `step_B`."""
        time_T, a_T, s_T = (t.to(step_B.device) for t in (self.time_T, self.a_T, self.s_T))
        return time_T[step_B], a_T[step_B].view(-1, 1, 1, 1), s_T[step_B].view(-1, 1, 1, 1)


def ddim(scheduler: Any, steps: int) -> Schedule:
    """DDIM with η = 0 (Song et al. 2021, eq. 12) on the scheduler's own ᾱ table and timestep spacing."""
    scheduler.set_timesteps(steps)
    time_T = scheduler.timesteps
    before = time_T - scheduler.config.num_train_timesteps // steps
    abar = scheduler.alphas_cumprod.double()
    then = torch.where(before >= 0, abar[before.clamp(min=0)], scheduler.final_alpha_cumprod.double())
    return _table(time_T, abar[time_T].sqrt(), (1 - abar[time_T]).sqrt(), then.sqrt(), (1 - then).sqrt())


def euler(scheduler: Any, steps: int) -> Schedule:
    """Euler's method on the probability-flow ODE (Karras et al. 2022); the same step as DDIM, on interpolated noise
    levels."""
    scheduler.set_timesteps(steps)
    sigma = scheduler.sigmas.double()
    a, s = _unit(sigma[:-1])
    a_next, s_next = _unit(sigma[1:])
    return _table(scheduler.timesteps, a, s, a_next, s_next, start=float(scheduler.init_noise_sigma) * float(a[0]))


def euler_ancestral(scheduler: Any, steps: int) -> Schedule:
    """Euler with part of the noise drawn anew at each step (SDXL-Turbo's own sampler)."""
    scheduler.set_timesteps(steps)
    sigma = scheduler.sigmas.double()
    now, then = sigma[:-1], sigma[1:]
    fresh = (then**2 * (now**2 - then**2) / now**2).sqrt()
    a, s = _unit(now)
    a_next, _ = _unit(then)
    kept = (then**2 - fresh**2).sqrt()
    return _table(
        scheduler.timesteps,
        a,
        s,
        a_next,
        a_next * kept,
        a_next * fresh,
        start=float(scheduler.init_noise_sigma) * float(a[0]),
    )


def lcm(scheduler: Any, steps: int, timesteps: tuple[int, ...] = ()) -> Schedule:
    """Multistep consistency sampling (Luo et al. 2023, Alg. 3): all noise is new at each step; `timesteps` in place of
    even ones.

    The boundary scalings c_skip and c_out differ from 0 and 1 by less than 1e-5 at every time used, and are left out.
    """
    given = timesteps if len(timesteps) == steps else ()
    scheduler.set_timesteps(timesteps=list(given)) if given else scheduler.set_timesteps(steps)
    time_T = scheduler.timesteps
    abar = scheduler.alphas_cumprod.double()[time_T]
    then = torch.cat([abar[1:], torch.ones(1, dtype=torch.float64)])
    zero = torch.zeros_like(then)
    return _table(time_T, abar.sqrt(), (1 - abar).sqrt(), then.sqrt(), zero, (1 - then).sqrt())


def flow(scheduler: Any) -> Schedule:
    """Euler on a rectified flow, xₜ = (1−σ)·x₀ + σ·noise, of a scheduler whose (shifted) timesteps are set already; all
    noise is new at each step where it samples so."""
    sigma = scheduler.sigmas.double()
    kept, fresh = (0 * sigma[1:], sigma[1:]) if scheduler.config.stochastic_sampling else (sigma[1:], None)
    return _table(scheduler.timesteps, 1 - sigma[:-1], sigma[:-1], 1 - sigma[1:], kept, fresh)


SAMPLERS: dict[str, tuple[str, Callable[..., Schedule]]] = {  # name -> diffusers' scheduler class, our reading of it
    "ddim": ("DDIMScheduler", ddim),
    "euler": ("EulerDiscreteScheduler", euler),
    "euler-ancestral": ("EulerAncestralDiscreteScheduler", euler_ancestral),
    "lcm": ("LCMScheduler", lcm),
}
_BY_CLASS = {scheduler: name for name, (scheduler, _) in SAMPLERS.items()}
OTHER_NOISE = ("EDM", "FlowMatch")  # schedulers of networks that are told other noise levels, and scaled otherwise


def sampler_of(scheduler_class: str) -> str:
    """The sampler of a pipeline's own scheduler; multistep ones, whose steps are no function of one prediction, become
    DDIM. Raises BadInput for one of another noising than xₜ = √ᾱₜ·x₀ + √(1−ᾱₜ)·ε at a table of times."""
    if scheduler_class.startswith(OTHER_NOISE):
        raise BadInput(
            f"the pipeline's scheduler is {scheduler_class}: a UNet trained for it cannot be sampled here.\n"
            f"Take a model of the usual noising, with a scheduler such as {', '.join(_BY_CLASS)}."
        )
    return _BY_CLASS.get(scheduler_class, "ddim")


def schedule_for(sampler: str, config: dict[str, Any], steps: int, **options: Any) -> Schedule:
    """The table of a named sampler on a pipeline's scheduler configuration. Raises BadInput for a number of steps it
    has not."""
    import diffusers

    name, read = SAMPLERS[sampler]
    kind: Any = getattr(diffusers, name)
    # `from_config` imports all schedulers that know this configuration, and with them scipy: a second of every start.
    known = signature(kind.__init__).parameters
    scheduler = kind(**{key: value for key, value in config.items() if key in known})
    try:
        return read(scheduler, steps, **options)
    except (ValueError, IndexError, ZeroDivisionError) as error:
        raise BadInput(f"{steps} sampling steps cannot be had from {name}: {str(error).splitlines()[0]}") from error


def _unit(sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Signal and noise level of unit-variance latents at noise-to-signal ratio σ."""
    a = 1 / (1 + sigma**2).sqrt()
    return a, sigma * a


def _table(
    time: Tensor, a: Tensor, s: Tensor, a_next: Tensor, s_next: Tensor, fresh: Tensor | None = None, start: float = 1.0
) -> Schedule:
    """The last step's map goes into `ending`, so that what follows the last preview changes nothing."""
    left = float(s_next[-1] / s[-1])
    ending = (float(a_next[-1] - left * a[-1]), left)
    a_next, s_next = a_next.clone(), s_next.clone()
    a_next[-1] = 1.0
    s_next[-1] = 0.0
    drawn = [0.0] * len(time) if fresh is None else [float(f) for f in fresh]
    return Schedule(time, a.float(), s.float(), a_next.float(), s_next.float(), drawn, start, ending)
