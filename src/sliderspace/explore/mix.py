"""What is asked of the model at a time: strengths of sliders, a prompt, seeds and steps."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from sliderspace.core.ranges import whole_numbers
from sliderspace.core.text import is_blank

FARTHEST = 10.0  # natural units, either way: far beyond what any slider is measured at
MOST_PICTURES = 16  # drawn at a time: a page, not a batch
MOST_TEXT = 2000  # characters of a prompt


def _within(value: float) -> float:
    return min(max(value, -FARTHEST), FARTHEST)


Strength = Annotated[float, AfterValidator(_within)]


class Mix(BaseModel):
    """Strengths {slider: natural units}, brought within ±`FARTHEST`; those in `off` are passed by. An empty prompt is
    the space's own. Sliders act from step `start` on and before step `end`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    strengths: dict[int, Strength] = Field(default_factory=dict[int, float], max_length=1000)
    off: tuple[int, ...] = Field(default=(), max_length=1000)
    prompt: str = Field(default="", max_length=MOST_TEXT)
    seeds: str = Field(default="0-1", max_length=400)
    start: int = Field(default=0, ge=0, le=1000)
    end: int | None = Field(default=None, ge=1, le=1000)

    @property
    def active(self) -> dict[int, float]:
        """The sliders that do something."""
        return {k: value for k, value in self.strengths.items() if value and k not in self.off}

    @property
    def listed_seeds(self) -> list[int]:
        """Raises BadInput for what is no list of seeds, or too many."""
        return whole_numbers(self.seeds, "seeds", MOST_PICTURES)

    @property
    def own_prompt(self) -> str | None:
        """None stands for the space's own prompts."""
        return None if is_blank(self.prompt) else self.prompt
