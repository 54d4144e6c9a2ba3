"""The page shows every slider and every warning, stands alone, and no text on it can run or load anything."""

import base64
import hashlib
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sliderspace.errors import BadInput
from sliderspace.images import data_uri, encode_jpeg, encode_png, grid, labelled_strip, save_png, scale_label, thumbnails
from sliderspace.report import MEASURES, ReportData, SliderEntry, nice_top, render, warnings_for, write_report

SCALES = (-3, -2, -1, 0, 1, 2, 3)
GOOD = {
    "alignment": 0.5, "consistency": 0.7, "selectivity": 4.0, "monotone_share": 1.0, "realism": 1.0, "realism_2": 0.9,
    "own_direction_largest": True, "explained_variance_ratio": 0.1, "unit": 0.4, "unit_reached": True,
}  # fmt: skip


def pictures(*shape: int, size: int = 6, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (*shape, size, size, 3), dtype=np.uint8)


def slider(index: int, *, name: str | None = None, warnings: tuple[str, ...] = (), **changed: Any) -> SliderEntry:
    return SliderEntry(index, name, pictures(2, 7, seed=index), SCALES, {"index": index, **GOOD, **changed}, warnings)


def report(**changed: Any) -> ReportData:
    data = ReportData(
        title="a portrait", prompts=("a portrait",), backbone="mini", encoder="clip", created="today", settings=(("samples", 1000),),
        base_images=pictures(5), explained_variance_ratio=(0.2, 0.1, 0.05), step_share=0.025, sliders=[slider(k) for k in range(3)],
        leakage=np.eye(3) * 0.5 - 0.01, mean=GOOD | {"effective_rank": 2.5}, history=((0, -0.01), (50, 0.1), (100, 0.15)), folder="runs/p",
    )  # fmt: skip
    return replace(data, **changed)


class Page(HTMLParser):
    """What a browser would make of it: elements in order, their attributes, and the text that is not script or style."""

    def __init__(self, html: str):
        super().__init__()
        self.inside = ""
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self.styles: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]):
        self.inside = tag
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str):
        self.inside = ""

    def handle_data(self, data: str):
        (self.scripts if self.inside == "script" else self.styles if self.inside == "style" else self.texts).append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def values(self, name: str, tag: str | None = None) -> list[str]:
        return [value for t, n, value in self.attributes if n == name and tag in (None, t)]


# ---- nothing on it runs or loads

EVIL = """"><script>alert(1)</script><img src=x onerror=alert(2)> {{ 7*7 }} {% raw %} ' </style></title> javascript:alert(3) &lt;b&gt;"""


def with_text_everywhere(text: str) -> ReportData:
    entry = slider(0, name=text, warnings=(text,))
    return report(
        title=text, prompts=(text,), backbone=text, encoder=text, created=text, settings=((text, text),), notes=(text,), folder=text,
        sliders=[entry, slider(1), slider(2)],
    )  # fmt: skip


def test_a_prompt_with_a_script_is_inert():
    page, harmless = Page(render(with_text_everywhere(EVIL))), Page(render(with_text_everywhere("x")))
    assert page.tags == harmless.tags
    assert [(t, n) for t, n, _ in page.attributes] == [(t, n) for t, n, _ in harmless.attributes]
    assert page.scripts == harmless.scripts
    assert page.text.count(" ".join(EVIL.split())) >= 8, "it is shown as it was written"


@given(st.text(min_size=1).filter(str.strip))
def test_no_text_changes_what_the_page_is_made_of(text: str):
    page, harmless = Page(render(with_text_everywhere(text))), Page(render(with_text_everywhere("x")))
    assert page.tags == harmless.tags
    assert [(t, n) for t, n, _ in page.attributes] == [(t, n) for t, n, _ in harmless.attributes]


def test_the_policy_allows_our_script_alone_and_no_address():
    page = Page(render(report()))
    policy = next(v for v in page.values("content", "meta") if "default-src" in v)
    assert len(page.scripts) == 1
    digest = base64.b64encode(hashlib.sha256(page.scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert ":" not in policy.replace("img-src data:", "")


def test_nothing_is_loaded_from_anywhere():
    html = render(report())
    page = Page(html)
    assert all(value.startswith("data:image/") for value in page.values("src"))
    assert all(value.startswith("#") for value in page.values("href"))
    assert not {"link", "iframe", "object", "embed", "base", "form"} & set(page.tags)
    assert not [name for _, name, _ in page.attributes if name.startswith("on") or name in {"srcset", "action", "background"}]
    assert not re.search(r"url\(|@import", "".join(page.styles))
    assert not re.search(r"https?:|[\s\"'(=]//[a-z]", html), "not even the name of another place"


def test_every_link_of_the_page_leads_somewhere():
    for data in (report(), report(history=()), report(sliders=[slider(0)], leakage=[[0.5]], explained_variance_ratio=[0.2])):
        page = Page(render(data))
        assert {link[1:] for link in page.values("href")} <= set(page.values("id"))


# ---- what it shows

def test_each_slider_appears_with_all_its_pictures_and_commands():
    data = report(folder="my runs/person")
    page = Page(render(data))
    for entry in data.sliders:
        assert f"slider-{entry.index}" in page.values("id", "article")
        assert f"sliderspace generate 'my runs/person' --set {entry.index}=1.5 --seeds 0-15" in page.text
        assert f"sliderspace sweep 'my runs/person' {entry.index}" in page.text
        for row, letter in zip(np.asarray(entry.strips), "AB", strict=True):
            for image, scale in zip(row, SCALES, strict=True):
                label = "base" if scale == 0 else scale_label(scale)
                assert f"slider {entry.index}, seed {letter}, {label}" in page.values("alt")
                assert data_uri(image) in page.values("src")


def test_the_base_column_is_marked_once_a_row():
    page = Page(render(report()))
    assert page.values("class").count("cell base") == 3 * 2
    assert page.values("class").count("tick base") == 3


def test_strips_without_a_base_column_show_too():
    entry = SliderEntry(0, None, pictures(2, 4), (-2.0, -0.5, 0.5, 2.0), GOOD)
    page = Page(render(report(sliders=[entry])))
    assert "tick base" not in page.values("class")
    assert "−0.5" in page.text
    assert "+0.5" in page.text


def test_prompt_samples_measures_and_settings_are_shown():
    data = report(prompts=("a portrait", "a person, ink drawing"), notes=("took 3 min",))
    page = Page(render(data))
    for text in ("a portrait", "“a person, ink drawing”", "took 3 min", "samples", "1000"):
        assert text in page.text
    for text in ("2.5%", "2.5 different things", "0.50 ≥ 0.40 ✓ met"):
        assert text in page.text
    assert sum(alt.startswith("base sample") for alt in page.values("alt")) == 5
    for measure in MEASURES:
        assert measure.name in page.text
        assert measure.meaning in page.text


def test_a_mean_below_its_aim_says_so_and_one_at_its_aim_does_not():
    assert "0.39 ≥ 0.40 below its aim" in Page(render(report(mean={"alignment": 0.3949}))).text
    assert "below its aim" not in Page(render(report(mean={"alignment": 0.4, "own_direction_largest": 1.0}))).text


def test_own_direction_is_counted_in_sliders():
    data = report(sliders=[slider(k) for k in range(16)], mean={"own_direction_largest": 13 / 16}, leakage=np.eye(16))
    assert "13 of 16 ≥ 14 of 16 below its aim" in Page(render(data)).text


def test_warnings_show_on_the_card_and_in_the_overview():
    page = Page(render(report(sliders=[slider(0), slider(1, warnings=("It does <i>nothing</i>.", "Twice.")), slider(2)])))
    assert "It does <i>nothing</i>." in page.text
    assert "⚠ 2 warnings" in page.text
    assert "1 with a warning" in page.text
    assert "none with a warning" in Page(render(report())).text


def test_charts_hold_their_values():
    page = Page(render(report(leakage=[[0.5, -0.25, 0.0], [0, 0.4, 0.1], [0, 0, 0.3]])))
    assert "slider 0 moves direction 1: −0.25" in page.text
    assert "slider 0: 20.0% of the variance" in page.text
    assert "after 100 updates: 0.150" in page.text
    first_leak = page.text.split("Strongest leaks")[1].split("slider 1 →")[0]
    assert first_leak.split() == ["slider", "0", "→", "direction", "1", "−0.25"]


def test_what_could_not_be_measured_is_a_dash():
    missing = dict.fromkeys(GOOD)
    entry = SliderEntry(0, None, pictures(1, 7), SCALES, missing, warnings_for(missing))
    numbers = {"leakage": [[None]], "history": ((0, None), (1, float("nan"))), "step_share": 0.0, "explained_variance_ratio": [None]}
    page = Page(render(report(sliders=[entry], mean=missing, **numbers)))
    assert "nan" not in page.text.lower()
    assert "None" not in page.text
    assert "Alignment –" in page.text
    assert "training" not in page.values("id")


def test_small_pictures_are_exact_and_large_ones_shrunk():
    def first(size: int) -> Any:
        page = Page(render(report(base_images=pictures(1, size=size))))
        uri = page.values("src")[0]
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))))

    np.testing.assert_array_equal(first(64), pictures(1, size=64)[0])
    assert first(1024).shape == (256, 256, 3)


def test_many_sliders_make_a_page_that_can_be_opened(tmp_path: Path):
    data = report(sliders=[slider(k) for k in range(64)], leakage=np.eye(64), explained_variance_ratio=np.full(64, 0.01))
    write_report(tmp_path / "report.html", data)
    assert (tmp_path / "report.html").stat().st_size < 3_000_000
    assert len(Page((tmp_path / "report.html").read_text(encoding="utf-8")).values("id", "article")) == 64


def test_pictures_of_another_kind_are_refused():
    for wrong in (np.zeros((2, 8, 8, 3)), np.zeros((2, 8, 8), np.uint8), np.zeros((2, 0, 8, 3), np.uint8)):
        with pytest.raises(BadInput, match="uint8"):
            render(report(base_images=wrong))


@pytest.mark.parametrize(("value", "top"), [(0.11, 0.12), (0.15, 0.16), (1.0, 1.0), (0.0, 1.0), (37, 40), (float("nan"), 1.0)])
def test_axes_end_at_round_numbers(value: float, top: float):
    assert nice_top(value) == pytest.approx(top)


# ---- warnings

def test_a_good_slider_has_no_warning():
    assert warnings_for({"index": 1, **GOOD}, {"alignment": 0.5}, [0, 0.5, 0]) == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"alignment": 0.19}, "little along its own direction"),
        ({"consistency": 0.29}, "different things on different seeds"),
        ({"monotone_share": 0.79}, "More strength does not always"),
        ({"realism": 0.74}, "Even at one unit"),
        ({"realism_2": 0.49}, "stay within ±1"),
        ({"unit_reached": False}, "its unit is an estimate"),
        ({"alignment": 0.24}, "much less aimed than the others: alignment 0.24, and 0.60 on average"),
    ],
)
def test_each_fault_is_said_once_and_alone(changed: dict[str, Any], said: str):
    warnings = warnings_for({"index": 1, **GOOD, **changed}, {"alignment": 0.6})
    assert len(warnings) == 1
    assert said in warnings[0]


def test_a_slider_that_looks_like_another_names_it():
    measures = {"index": 0, **GOOD, "own_direction_largest": False}
    assert "slider 2:" in warnings_for(measures, None, [0.1, 0.2, 0.3])[0]
    assert "slider 2 turned round" in warnings_for(measures, None, [0.1, 0.2, -0.3])[0]
    assert "another slider's direction" in warnings_for(measures)[0]


def test_a_measure_that_is_missing_warns_of_nothing():
    assert warnings_for(dict.fromkeys(GOOD), dict.fromkeys(GOOD), [None, None]) == []  # pyright: ignore[reportArgumentType]
    assert warnings_for({}) == []


# ---- pictures

def test_png_is_exact_and_written_whole(tmp_path: Path):
    image = pictures(size=17)
    save_png(tmp_path / "a.png", image)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), image)
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
    assert encode_png(image) == encode_png(image[:, ::-1][:, ::-1]), "a view is a picture too"


def test_jpeg_is_close_and_smaller_for_smooth_pictures():
    ramp = np.broadcast_to(np.arange(256, dtype=np.uint8)[None, :, None], (256, 256, 3))
    assert np.abs(np.asarray(Image.open(io.BytesIO(encode_jpeg(ramp)))).astype(int) - ramp).max() < 8
    assert data_uri(ramp).startswith("data:image/jpeg;")
    assert data_uri(ramp[:128, :128]).startswith("data:image/png;")


def test_a_grid_holds_each_picture_in_its_place():
    images = pictures(5, size=4)
    page = grid(images, 2, gap=1)
    assert page.shape == (14, 9, 3)
    np.testing.assert_array_equal(page[5:9, 5:9], images[3])
    np.testing.assert_array_equal(page[10:14, 0:4], images[4])
    assert (page[10:14, 5:] == 255).all()
    assert (page[4] == 255).all()
    assert grid(images[:1], 8).shape == (4, 4, 3)
    for wrong in ((images, 0), (images[:0], 2), (images[0], 2), (images.astype(float), 2)):
        with pytest.raises(BadInput):
            grid(*wrong)


def test_thumbnails_keep_proportions_and_leave_small_pictures_alone():
    wide = np.random.default_rng(0).integers(0, 256, (2, 3, 50, 100, 3), dtype=np.uint8)
    assert thumbnails(wide, 40).shape == (2, 3, 20, 40, 3)
    np.testing.assert_array_equal(thumbnails(wide, 40)[1, 2], thumbnails(wide[1, 2], 40))
    np.testing.assert_array_equal(thumbnails(wide), wide)


def test_a_labelled_strip_has_its_pictures_below_its_labels():
    images = pictures(2, 3, size=40)
    strip = labelled_strip(images, [scale_label(s) for s in (-1, 0, 1.5)], ["seed 0", "seed é"])
    np.testing.assert_array_equal(strip[-40:, -40:], images[1, 2])
    top, left = strip.shape[0] - 82, strip.shape[1] - 124
    assert (strip[:top, left:] < 128).any(), "column labels"
    assert (strip[top:, :left] < 160).any(), "row labels"
    assert labelled_strip(images, ["a", "b", "c"]).shape[1] == 124
    with pytest.raises(BadInput, match="column labels"):
        labelled_strip(images, ["a", "b"])


def test_strengths_are_written_with_a_true_minus():
    assert [scale_label(s) for s in (-3, 0, 0.0, 1.5, 2.0)] == ["−3", "0", "0", "+1.5", "+2"]
