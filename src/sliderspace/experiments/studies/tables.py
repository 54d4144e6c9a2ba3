"""A question's answer as a page: the table, the plot, the command. What a person wrote around them stays."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from sliderspace.core.errors import BadInput
from sliderspace.experiments.studies.questions import Question
from sliderspace.experiments.studies.study import COLUMNS, Row
from sliderspace.storage.files import save_bytes, save_text

BEGIN, END = "<!-- measured: begin (written by `sliderspace study`) -->", "<!-- measured: end -->"
PLOTTED = (
    "alignment (judge)",
    "consistency (judge)",
    "selectivity (judge)",
    "realism at 2 (judge)",
    "disentanglement",
    "factor gap",
)
ADVICE = "**Advice.** *To be written.*"


def write_page(question: Question, answer: tuple[str, bytes], command: str, folder: Path) -> Path:
    """`NAME.md` and `NAME.png` of a question in `folder`, from its table and plot."""
    page, (told, drawn) = folder / f"{question.name}.md", answer
    folder.mkdir(parents=True, exist_ok=True)
    save_bytes(folder / f"{question.name}.png", drawn)
    measured = "\n".join([BEGIN, told, "", f"![{question.name}]({question.name}.png)", "", f"`{command}`", END])
    if not page.exists():
        save_text(page, f"# {question.asks}\n\n{ADVICE}\n\n{measured}\n")
        return page
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    save_text(page, f"{before}{measured}{rest.partition(END)[2]}")
    return page


def answer(question: Question, found: Mapping[str, Sequence[Row]]) -> tuple[str, bytes]:
    """Table and plot of variants. Raises BadInput where nothing is measured yet."""
    if not any(found.values()):
        raise BadInput(
            f"nothing is measured for '{question.name}' yet: run `sliderspace study {question.name}` without "
            f"--write first"
        )
    return table(found), plot(question, found)


def table(found: Mapping[str, Sequence[Row]]) -> str:
    """Markdown: a row a variant, mean ± standard deviation over the seeds."""
    lines = ["| | seeds | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 2) + "|"]
    lines += [
        f"| {label} | {len(rows)} | " + " | ".join(_said([r[c] for r in rows if c in r]) for c in COLUMNS) + " |"
        for label, rows in found.items()
    ]
    return "\n".join(lines)


def _said(values: Sequence[float]) -> str:
    if not values:
        return "–"
    return f"{np.mean(values):.3f}" + (f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else "")


def plot(question: Question, found: Mapping[str, Sequence[Row]]) -> bytes:
    """PNG: a panel a measure; every seed a dot, their mean a bar, or a line where the labels are numbers."""
    labels = list(found)
    places = [float(label) for label in labels] if question.number else list(range(len(labels)))
    made = figure(question.asks)
    for axes, name in zip(made.subplots(2, 3).flat, PLOTTED, strict=True):
        values = [[r[name] for r in found[label] if name in r] for label in labels]
        drawn = [(x, float(np.mean(v))) for x, v in zip(places, values, strict=True) if v]
        dots = [(x, v) for x, some in zip(places, values, strict=True) for v in some]
        if drawn:
            axes.plot(
                *zip(*drawn, strict=True),
                "-o" if question.number else "_",
                color="#1c66cc",
                markersize=7 if question.number else 26,
                mew=2.5,
            )
            axes.plot(*zip(*dots, strict=True), "o", color="#14171c", alpha=0.5, markersize=4, mec="none")
        if question.number and min(places) > 0 and max(places) / min(places) >= 8:
            axes.set_xscale("log", base=2)
        axes.set_xticks(places, [label.replace(" ", "\n") for label in labels], fontsize=7)
        axes.margins(x=0.1)
        axes.minorticks_off()
        axes.set_title(name, fontsize=10)
        axes.grid(axis="y", color="#dde1e7")
        axes.spines[["top", "right"]].set_visible(False)
    return png(made)


def figure(title: str) -> Any:
    """An empty figure for six panels."""
    from matplotlib.figure import Figure

    made = Figure(figsize=(11, 5.6), layout="constrained")
    made.suptitle(title, fontsize=11)
    return made


def png(made: Any) -> bytes:
    held = BytesIO()
    made.savefig(held, format="png", dpi=100, metadata={"Software": None})
    return held.getvalue()
