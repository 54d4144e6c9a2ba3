"""A matplotlib figure -> SVG that belongs to the page: its colours, its fonts, its tips, and nothing from elsewhere."""

import logging
import re
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from io import StringIO
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from markupsafe import Markup

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 4.6  # inches: half the page on a screen, the whole of it on a phone, with text that can be read on both
FONT = 9
MARGINS = (0.52, 0.4, 0.42, 0.1)  # inches left, right, below and above: fixed, as working them out doubles the time
# Drawn in these and named in the page's style sheet, which knows light from dark.
COLOURS = {
    name: f"#0101{code:02x}" for code, name in enumerate(("ink", "soft", "line", "sheet", "plus", "plus-2", "plus-3"))
}
SHADES = ("plus", "plus-2", "plus-3")
STYLE: Any = {  # of matplotlib's rcParams
    "svg.fonttype": "none",
    "font.size": FONT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.edgecolor": COLOURS["line"],
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": COLOURS["line"],
    "grid.linewidth": 0.8,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "axes.unicode_minus": True,
    "lines.linewidth": 1.6,
    "lines.markersize": 4,
}


@contextmanager
def drawing(height: float = 2.3) -> Generator[tuple["Figure", "Axes"]]:
    """An empty figure, `height` inches high, in the page's style."""
    log = logging.getLogger("matplotlib")
    level = log.level
    log.setLevel(logging.ERROR)  # it warns where it may not write its list of fonts, which text in SVG does not need
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure

        with rc_context(STYLE):
            figure = Figure(figsize=(WIDTH, height))
            left, right, bottom, top = (
                inches / of for inches, of in zip(MARGINS, (WIDTH, WIDTH, height, height), strict=True)
            )
            yield figure, figure.add_axes((left, bottom, 1 - left - right, 1 - bottom - top))
    finally:
        log.setLevel(level)


def page_svg(figure: "Figure", label: str, tips: Mapping[str, Sequence[str]]) -> Markup:
    """The figure as inline SVG, named `label` for screen readers. The marks of an artist whose gid is a key of `tips`
    get those tips, in order."""
    from matplotlib import rc_context

    held = StringIO()
    unstamped = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with rc_context({"svg.hashsalt": label}):  # names of marks differ between the charts of a page, not between runs
        figure.savefig(held, format="svg", transparent=True, metadata=unstamped)
    root = ElementTree.fromstring(held.getvalue())
    root.remove(root[0])  # its style sheet, which would hold for the whole page
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = {key.rpartition("}")[2]: _of_the_page(value) for key, value in element.attrib.items()}
    for group in list(root.iter("g")):
        for mark, tip in zip(_marks(group), tips.get(group.attrib.pop("id", ""), ()), strict=False):
            ElementTree.SubElement(mark, "title").text = tip
    root.attrib = {"class": "chart", "viewBox": root.attrib["viewBox"], "role": "img", "aria-label": label}
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _of_the_page(value: str) -> str:
    """An attribute with the page's colours and fonts in place of the figure's."""
    value = re.sub(r"font-family:[^;]*;?", "", value)
    for name, colour in COLOURS.items():
        value = value.replace(colour, f"var(--{name})")
    return value


def _marks(group: ElementTree.Element) -> list[ElementTree.Element]:
    """What is drawn in a group: its shapes, or the places where one marker is used."""
    return list(group.iter("use")) or [child for child in group if child.tag == "path"]
