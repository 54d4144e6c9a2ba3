"""How far a stage is: what stages yield, and whoever watches draws."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """`done` of `total` in a stage; `note` says what a reader would want to know now."""

    stage: str
    done: int
    total: int
    note: str = ""
