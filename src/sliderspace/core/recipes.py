"""Whole sets of settings by name."""

from typing import Any

from sliderspace.core.errors import BadInput
from sliderspace.core.settings import Settings

# The published method; its learning rate and updates are those of the authors' released program, for the paper names
# none. What that program does wrong (see docs/design.md) is not copied.
PAPER: dict[str, Any] = {
    "embed": "all",
    "centring": "all",
    "rotation": "none",
    "rank": 1,
    "targets": "cross-kv",
    "up": "frozen",
    "objective": "published",
    "both_signs": False,
    "until": 1.0,
    "hold": 0.0,
    "updates": 281,
    "lr": 2e-3,
}
# Concept Sliders (Gandikota et al., ECCV 2024). The paper's rate is for a thousand updates of large models; on the
# built-in one held-out alignment is 0.67 after 50 updates at ten times the rate, and 0.69 after 150.
CONCEPT: dict[str, Any] = {"objective": "concept", "rotation": "none", "hold": 0.0, "until": 1.0, "rank": 4}
CONCEPT_RECIPES: dict[str, dict[str, Any]] = {
    "default": {**CONCEPT, "samples": 200, "updates": 100, "lr": 2e-3},
    "paper": {**CONCEPT, "samples": 200, "updates": 1000, "lr": 2e-4},
}
RECIPES: dict[str, dict[str, Any]] = {
    "default": {key: Settings.model_fields[key].default for key in PAPER},
    "paper": PAPER,
}


def recipe(name: str, among: dict[str, dict[str, Any]] = RECIPES) -> dict[str, Any]:
    """The settings of a recipe; none of no name. Raises BadInput for a name that is none."""
    if not name:
        return {}
    if name not in among:
        raise BadInput(f"no recipe '{name}': choose {' or '.join(among)}")
    return among[name]
