"""The plan of a discovery as plain text."""

from collections.abc import Iterator

import typer

from sliderspace.core.settings import Measuring
from sliderspace.core.sizes import sides
from sliderspace.plan.catalogue import CARDS, CataloguePlan
from sliderspace.plan.memory import RESERVE
from sliderspace.plan.plan import Plan

# ---- for a person

BASES = {"none": "base whole", "8bit": "base in 8 bits", "4bit": "base in 4 bits"}


SHOWN_LANES = (1, 4, 16)


def print_plan(plan: Plan) -> None:
    """The plan as plain text."""
    for heading, lines in _sections(plan):
        for i, line in enumerate(lines):
            typer.echo(f"{'' if i else heading:9}{line}")


def print_catalogue_plan(plan: CataloguePlan) -> None:
    """What one concept costs, and what is left of all by how many cards share it."""
    one = plan.one
    in_stages = ", ".join(f"{count} {stage}" for stage, count in plan.stages.items())
    by_cards = ", ".join(f"{cards}: {_duration(plan.hours_on(cards))}" for cards in CARDS)
    lines = {
        "Concepts": f"{plan.concepts} on {one.backbone}: {in_stages}. Nothing is fetched, drawn or trained.",
        "One": f"{one.sliders.count} sliders, {one.work.samples:,} trajectories: {_duration(sum(one.hours.values()))}",
        "Time": f"of what is left, by cards that share it: {by_cards}",
        "": f"on this machine's processor: {_duration(plan.hours_on_cpu)}",
        "Disk": f"{plan.disk_gb:.1f} GB in all",
        "Run": _command(one),
        "Card": f"{one.card.name}; `discover` of one prompt with --dry-run says how all this is reckoned",
    }
    for heading, line in lines.items():
        typer.echo(f"{heading:9}{line}")


def _sections(plan: Plan) -> Iterator[tuple[str, list[str]]]:
    m, s, w = plan.model, plan.sliders, plan.work
    trained = "" if s.trained_values == s.values else f", {s.trained_values:,} of them trained"
    total = sum(d.gb for d in plan.downloads)
    yield "Plan", [f"{', '.join(plan.prompts[:3])}, on {plan.backbone}. Nothing is fetched, drawn or trained."]
    yield (
        "Model",
        [
            m.source,
            f"{_count(m.parameters)} values in {m.precision}" + f"; licence: {m.licence}" * bool(m.licence),
            f"{m.steps} steps, guidance {m.guidance:g}; {' × '.join(map(str, sides(m.pixels)))} pixels",
            f"image encoder {m.encoder}; previews through {m.decoder or 'its own decoder'}",
        ],
    )
    yield (
        "Fetch",
        [
            f"{total:.1f} GB, once" if total else "nothing",
            *(f"{d.gb:6.2f} GB  {d.source}: {d.what}" for d in plan.downloads),
        ],
    )
    yield (
        "Sliders",
        [
            f"{s.count} of rank {s.rank} on {s.layers} layers ({s.targets}), {s.values:,} values each{trained}",
            f"{s.export_mb:.2f} MB each when exported",
        ],
    )
    yield (
        "Work",
        [
            f"{w.samples:,} trajectories and {w.held_out} held out, of {w.steps} steps, {w.embedded} of them embedded",
            f"{w.updates:,} updates of every slider, {w.slider_updates:,} in all",
            *_measuring(plan),
        ],
    )
    yield "Memory", list(_memory(plan))
    yield (
        "Run",
        [_command(plan)],
    )
    yield (
        "Disk",
        [f"{plan.disk_gb:.2f} GB in the run folder"],
    )
    yield "Time", list(_time(plan))
    yield "How", list(plan.how)


def _memory(plan: Plan) -> Iterator[str]:
    yield f"{plan.card.gib:.0f} GB, {plan.card.name}; peak of an update in GB, by lanes (sliders trained at a time)"
    lanes = "".join(f"{f'{n} lanes' if n > 1 else '1 lane':>10}" for n in SHOWN_LANES)
    yield f"{'':30}{'stays':>8}{lanes}{'lanes that fit':>16}"
    for o in plan.options:
        name = BASES[o.quantize] + ", checkpointing" * o.checkpointing
        peaks = "".join(f"{o.stays_gib + RESERVE + n * o.lane_gib:10.1f}" for n in SHOWN_LANES)
        yield (
            f"{name:30}{o.stays_gib:8.1f}{peaks}{o.lanes:16}"
            + "  < chosen" * (o == plan.chosen)
            + "  < would fit" * (o == plan.instead)
        )
    if plan.chosen:
        drawn = plan.chosen.stays_gib + RESERVE + plan.batch * plan.chosen.image_gib
        yield f"sampling {plan.batch} images at a time: {drawn:.1f} GB ({plan.chosen.image_gib:.2f} an image)"
    yield f"encoding prompts, before the rest is loaded: {plan.text_encoders_gib:.1f} GB"


def _measuring(plan: Plan) -> Iterator[str]:
    m, w = plan.measuring, plan.work
    share = f"{w.measuring_share:.0%} of the arithmetic"
    seeds = f"{m.calibration_seeds} seeds for units and {m.seeds} for measures"
    yield f"{w.images_measured:,} images to set units and measure, on {seeds}: {share}"
    full = Measuring()
    if m != full:
        yield (
            f"fewer than {full.images(plan.sliders.count):,} on {full.calibration_seeds} and {full.seeds} seeds: "
            "images are dear here, and measuring is to take at most a third"
        )


def _command(plan: Plan) -> str:
    if plan.chosen:
        return f"the same command without --dry-run, with {' '.join(plan.flags())}"
    if plan.instead:
        return f"does not fit as asked for; it does with {' '.join(plan.flags())}"
    least = plan.options[-1]
    needed = max(plan.text_encoders_gib, least.stays_gib + RESERVE + least.lane_gib)
    return f"does not fit: at least {needed:.1f} GB are needed; a lower --resolution needs less"


def _time(plan: Plan) -> Iterator[str]:
    yield (
        ", ".join(f"{stage} {_duration(h)}" for stage, h in plan.hours.items())
        + f": {_duration(sum(plan.hours.values()))} in all"
    )
    if plan.card.cuda:
        yield f"on this machine's processor: {_duration(plan.hours_on_cpu)}"
    if plan.model.published:
        yield f"known: {plan.model.published}"


def _count(number: int) -> str:
    return f"{number / 1e9:.2f} billion" if number >= 1e9 else f"{number / 1e6:.1f} million"


def _duration(hours: float) -> str:
    if hours < 1 / 30:
        return f"{hours * 3600:.0f} s"
    return f"{hours * 60:.0f} min" if hours < 2 else f"{hours:.1f} h" if hours < 100 else f"{hours / 24:,.0f} days"
