"""Time to quality: how soon does one recipe's training reach the held-out alignment that another's ends with?

    python benchmarks/quality.py runs/default runs/paper

Both are folders of finished runs of one model and prompt. Each is trained again, in memory, from its own stored
trajectories and directions, with a held-out check every few updates; an update's time is the median of those without a
check, so that checking costs neither.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean, median

from sliderspace.core.settings import Speed
from sliderspace.engine.begin import space_settings
from sliderspace.engine.models import Models
from sliderspace.engine.stages import objective_of
from sliderspace.method.training import train
from sliderspace.storage.run_folder import RunFolder

CHECK_EVERY = 5


@dataclass(frozen=True)
class Training:
    """Seconds an update, and (update, mean held-out alignment over sliders) at each check."""

    seconds: float
    updates: int
    checks: list[tuple[int, float]]

    @property
    def final(self) -> float:
        return self.checks[-1][1]

    def reached(self, alignment: float) -> float | None:
        """Seconds until a check found as much; None where none did."""
        return next((update * self.seconds for update, found in self.checks if found >= alignment), None)


def trained(folder: Path, speed: Speed, check_every: int) -> Training:
    """The training of a finished run, once more."""
    run = RunFolder(folder)
    models = Models(space_settings(run), speed, run)
    everyone = range(models.settings.sliders)
    objective = objective_of(models, everyone, models.bank(everyone))
    objective.recipe = replace(objective.recipe, check_every=check_every)
    seconds: list[float] = []
    checks: list[tuple[int, float]] = []
    with tempfile.TemporaryDirectory() as scratch:
        updates = train(
            objective,
            models.seen,
            models.unseen,
            seed=models.settings.seed,
            lanes=speed.lanes,
            checkpoint=Path(scratch) / "training.safetensors",
            fingerprint="quality",
        )
        while True:
            start = time.perf_counter()
            if (update := next(updates, None)) is None:
                return Training(median(seconds), models.settings.updates, checks)
            if update.held_out_K is None:
                seconds.append(time.perf_counter() - start)
            else:
                checks.append((update.index + 1, mean(update.held_out_K)))


def shown(one: Training, other: Training) -> str:
    """What the two say, for a person."""
    whole, soon = other.updates * other.seconds, one.reached(other.final)
    lines = [
        f"{name}: {t.updates} updates of {1000 * t.seconds:.0f} ms, {t.updates * t.seconds:.1f} s in all; held-out "
        f"alignment {t.final:.3f} at the end"
        for name, t in (("first", one), ("second", other))
    ]
    verdict = (
        "the first never reaches the second's"
        if soon is None
        else f"the first has the second's after {soon:.1f} s: 1/{whole / soon:.1f} of the second's {whole:.1f} s"
    )
    return "\n".join([*lines, verdict])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", type=Path, help="the recipe that is timed")
    parser.add_argument("second", type=Path, help="the recipe whose end is the goal")
    parser.add_argument("--check-every", type=int, default=CHECK_EVERY, metavar="UPDATES")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args(arguments)
    one, other = (
        trained(folder, Speed(device=asked.device), asked.check_every) for folder in (asked.first, asked.second)
    )
    if asked.json:
        print(json.dumps({"first": asdict(one), "second": asdict(other), "seconds_to_reach": one.reached(other.final)}))
    else:
        print(shown(one, other))


if __name__ == "__main__":
    main()
