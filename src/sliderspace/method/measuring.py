"""Settings -> how much is drawn to set natural units and to measure: fewer pictures where pictures are dear.

Measuring draws whole images, training single steps. Where an image takes thirty denoiser calls, the full numbers would
take longer than the discovery they measure.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from sliderspace.core.settings import Measuring, Settings
from sliderspace.method.baselines.concept import AXIS_SEEDS
from sliderspace.models.backbones.presets import preset_for
from sliderspace.models.costs import Costs, EncoderCosts, costs_for, encoder_costs
from sliderspace.models.working_point import embedded_steps

SHARE = 1 / 3  # of a discovery's arithmetic that measuring may take
CHEAP = 1000.0  # TFLOP: seconds of a graphics card, minutes of a processor; below it nothing is saved
LEAST_CALIBRATION, LEAST_SEEDS = 3, 6


@dataclass(frozen=True)
class Work:
    """Arithmetic of a discovery in TFLOP: sampling, training, one finished image that is embedded, and one that is
    decoded again for people, by another decoder."""

    sample: float
    train: float
    checkpointed_train: float
    image: float
    picture: float = 0.0

    def measure(self, measuring: Measuring, sliders: int) -> float:
        """What measuring takes."""
        return self.image * measuring.images(sliders) + self.picture * measuring.pictures(sliders)

    def share(self, measuring: Measuring, sliders: int) -> float:
        """Of the whole discovery that measuring takes."""
        measured = self.measure(measuring, sliders)
        return measured / (self.sample + self.train + measured)

    def stages(self, measuring: Measuring, sliders: int, *, checkpointing: bool) -> dict[str, float]:
        """TFLOP by stage."""
        train = self.checkpointed_train if checkpointing else self.train
        return {"sample": self.sample, "train": train, "measure": self.measure(measuring, sliders)}


def work_of(settings: Settings, steps: int, costs: Costs, encoder: EncoderCosts) -> Work:
    """The arithmetic of a discovery whose images take `steps` sampler steps."""
    step, seen = costs.denoiser.tflop, costs.decoder.tflop + encoder.part.tflop
    # Sliders asked for in words need no decoder, but what the model says of three prompts; and pictures of each pair.
    parts = (costs.denoiser,) if settings.pairs else (costs.denoiser, costs.decoder, encoder.part)
    targets = 3 * step if settings.pairs else 0.0
    updates = settings.updates * settings.sliders
    return Work(
        sample=(settings.samples + settings.held_out)
        * (steps * step + len(embedded_steps(settings.embed, steps)) * seen)
        + 2 * AXIS_SEEDS * len(settings.pairs) * (steps * step + seen),
        train=updates * (targets + sum(p.update_tflop for p in parts)),
        checkpointed_train=updates * (targets + sum(p.checkpointed_tflop for p in parts)),
        image=steps * step + seen,
        picture=costs.own_decoder.tflop if settings.decoder == "auto" and costs.decoder != costs.own_decoder else 0.0,
    )


def measuring_for(settings: Settings) -> Measuring:
    """The richest measuring that takes at most a third of the discovery; the poorest where none does.

    It follows from what decides a run's results alone, never from its speed. What is cheap as a whole is measured in
    full.
    """
    preset = preset_for(settings.backbone)
    encoder = encoder_costs(settings.encoder or preset.encoder)
    work = work_of(settings, settings.steps or preset.steps, costs_for(settings), encoder)
    return chosen_for(work, settings.sliders)


def chosen_for(work: Work, sliders: int) -> Measuring:
    """As `measuring_for`, for some work."""
    full = Measuring()
    if work.image * full.images(sliders) < CHEAP:
        return full
    from_richest = list(_poorer(full))
    return next((m for m in from_richest if work.share(m, sliders) <= SHARE), from_richest[-1])


def _poorer(full: Measuring) -> Iterator[Measuring]:
    """From the full numbers down: fewer seeds, then fewer strengths, then fewer images of the model alone."""
    least = full
    for seeds in range(full.seeds, LEAST_SEEDS - 1, -1):
        calibration = max(LEAST_CALIBRATION, round(full.calibration_seeds * seeds / full.seeds))
        yield (least := full.model_copy(update={"seeds": seeds, "calibration_seeds": calibration}))
    yield (least := least.model_copy(update={"sizes": (1.0, 2.0)}))
    yield (least := least.model_copy(update={"base_images": 16}))
    yield least.model_copy(update={"raw_sizes": (1.0, 3.0)})
