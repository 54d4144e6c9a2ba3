"""The page shows every slider and every warning, stands alone, and no text on it can run or load anything."""

import base64
import hashlib
import io
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sliderspace.core.errors import BadInput
from sliderspace.core.numbers import written
from sliderspace.report.charts import by_step, effect_table, estimate, heats, nice_top, reach
from sliderspace.report.from_run import report_run
from sliderspace.report.page import ReportData, SliderEntry, render, write_report
from sliderspace.report.verdicts import CLEAN, MEASURES, TOGETHER, warnings_for
from sliderspace.storage.files import save_json, stored_fingerprint
from sliderspace.storage.images import (
    data_uri,
    encode_jpeg,
    encode_png,
    grid,
    labelled_strip,
    save_png,
    scale_label,
    thumbnails,
)
from sliderspace.storage.run_folder import RunFolder

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


def around(value: float, by: float = 0.05) -> dict[str, float]:
    return {"value": value, "low": round(value - by, 6), "high": round(value + by, 6)}


FACTORS: dict[str, Any] = {
    "names": ["hair_colour", "glasses"], "effects": [[0.5, 0.1], [0.19, 0.2], [0.0, 0.05]],
    "becomes": [[["blond", "black"], ["none", "round"]], [["red", "grey"], ["none", "square"]], [None, None]],
    "gap": [0.4, 0.01, 0.05], "mean": {"gap": 0.15, "disentanglement": 0.4, "completeness": 0.3}, "own_sliders": 1, "single_factor": 1,
}  # fmt: skip
JUDGE: dict[str, Any] = {
    "encoder": "abc", "leakage": [[0.4, 0.0, 0.0], [0.0, 0.3, -0.11], [0.0, 0.0, 0.2]], "sliders": [{"index": k} for k in range(3)],
    "mean": {"alignment": 0.31, "consistency": 0.41, "selectivity": 2.5, "own_direction_largest": 2 / 3, "realism": 0.81},
}  # fmt: skip
EVALUATION: dict[str, Any] = {
    "seeds": 64,
    "views": {
        "training": {
            "encoder": "x", "leakage": [[0.8, 0.21, 0.0], [0.0, 0.5, 0.0], [0.0, 0.0, 0.5]],
            "sliders": [{"index": k, "consistency": around(0.6)} for k in range(3)],
            "mean": {"alignment": around(0.43), "own_direction_largest": around(2 / 3, 1 / 3), "realism": around(0.97)},
        },
        "judge": {"encoder": "y", "leakage": JUDGE["leakage"], "sliders": [], "mean": {"alignment": around(0.02), "realism": around(0.82)}},
    },
    "factors": FACTORS | {
        "mean": {"gap": around(0.16), "disentanglement": around(0.42), "completeness": around(0.33)},
        "controls": {"random directions": {"gap": 0.02, "disentanglement": 0.12, "own_sliders": 0, "single_factor": 2}},
        "informativeness": {"hair_colour": 0.77, "glasses": 0.66}, "mutual_information_gap": {"hair_colour": 0.22, "glasses": 0.11},
        "told_by_random_directions": {"informativeness": {"hair_colour": 0.44, "glasses": None}},
    },
    "by_step": {"steps": [0, 4, 9], "alignment": [[0.1, 0.2, 0.3], [0.3, 0.4, 0.5], [0.2, 0.3, 0.4]], "consistency": [[0.6, 0.7, 0.8]] * 3},
    "side_effects": {"active": 3, "retained": [0.9, 0.8, None], "additivity": [0.7, 0.7, 0.76]},
    "orthogonality": [[1.0, 0.1, 0.2], [0.1, 1.0, 0.3], [0.2, 0.3, 1.0]],
    "controls": {"training": {"random directions": {"alignment": 0.013}}, "judge": {"random directions": {"alignment": -0.001}}},
}  # fmt: skip


def evaluated(**changed: Any) -> ReportData:
    """A space of which everything is known."""
    sizes = [[0.7, 0.5, 0.25], [0.6, 0.5, 0.4], [0.65, 0.55, 0.35]]
    sliders = [slider(k, consistency_by_size=sizes[k], span=[-2, 3]) for k in range(3)]
    return report(
        **{"sliders": sliders, "sizes": (1, 2, 3), "judge": JUDGE, "factors": FACTORS, "evaluation": EVALUATION}
        | changed
    )


class Page(HTMLParser):
    """What a browser would make of it: elements in order, their attributes, and the text that is not script or
    style."""

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
        (self.scripts if self.inside == "script" else self.styles if self.inside == "style" else self.texts).append(
            data
        )

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def values(self, name: str, tag: str | None = None) -> list[str]:
        return [value for t, n, value in self.attributes if n == name and tag in (None, t)]


# ---- nothing on it runs or loads

EVIL = """"><script>alert(1)</script><img src=x onerror=alert(2)> {{ 7*7 }} {% raw %} ' </style></title> javascript:alert(3) &lt;b&gt;"""


def with_text_everywhere(text: str) -> ReportData:
    entry = slider(0, name=text, warnings=(text,), consistency_by_size=[0.5], span=[0, 1])
    factors = {**FACTORS, "names": [text, text], "becomes": [[[text, text]] * 2] * 3, "effects": [[0.5, 0.4]] * 3}
    controls = {"training": {text: {"alignment": 0.1}}}
    return evaluated(
        factors=factors, evaluation=EVALUATION | {"factors": {"controls": {text: {"gap": 0.1}}}, "controls": controls},
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
    assert not [
        name for _, name, _ in page.attributes if name.startswith("on") or name in {"srcset", "action", "background"}
    ]
    assert not re.search(r"url\(|@import", "".join(page.styles))
    assert not re.search(r"https?:|[\s\"'(=]//[a-z]", html), "not even the name of another place"


def test_every_link_of_the_page_leads_somewhere():
    for data in (
        report(),
        evaluated(),
        report(history=()),
        report(sliders=[slider(0)], leakage=[[0.5]], explained_variance_ratio=[0.2]),
    ):
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
    page = Page(
        render(report(sliders=[slider(0), slider(1, warnings=("It does <i>nothing</i>.", "Twice.")), slider(2)]))
    )
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
    numbers = {
        "leakage": [[None]],
        "history": ((0, None), (1, float("nan"))),
        "step_share": 0.0,
        "explained_variance_ratio": [None],
    }
    page = Page(render(report(sliders=[entry], mean=missing, **numbers)))
    assert "nan" not in page.text.lower()
    assert "None" not in page.text
    assert "Alignment –" in page.text
    assert "training" not in page.values("id")


# ---- what an evaluation adds


def rows(html: str) -> dict[str, str]:
    """The words of each table row, by its first cell; the explanations left out."""
    found = (re.sub(r'<td class="what">.*?</td>', "", row) for row in re.findall(r"<tr>(.*?)</tr>", html, re.DOTALL))
    words = (Page(row).text for row in found)
    return {
        key: row
        for row in words
        for key in [m.name for m in (*MEASURES, *TOGETHER, *CLEAN)]
        if row.startswith(f"{key} ")
    }


def marks(html: str, tag: str, kind: str) -> list[dict[str, str]]:
    """The attributes of the elements of a class."""
    found = re.findall(rf'<{tag} [^>]*class="{kind}[" ][^>]*>', html)
    return [dict(re.findall(r'([\w-]+)="([^"]*)"', element)) for element in found]


def test_the_judge_stands_beside_the_training_encoder_with_intervals():
    told = rows(render(evaluated()))
    assert told["Alignment"] == "Alignment 0.43 0.38–0.48 0.02 −0.03 to 0.07 ≥ 0.40 ✓ met"
    assert told["Own direction first"] == "Own direction first 2 of 3 1–3 2 of 3 ≥ 3 of 3 below its aim"
    assert told["Consistency"] == "Consistency 0.70 0.41 ≥ 0.50 ✓ met", (
        "what was not evaluated stays as it was discovered"
    )
    assert told["Monotone"] == "Monotone 100% – ≥ 90% ✓ met", "the judge did not look at it"
    assert "over 64 seeds" in Page(render(evaluated())).text


def test_realism_is_the_judges_word():
    assert rows(render(evaluated()))["Realism at ±1"] == "Realism at ±1 97% 92%–102% 82% 77%–87% ≥ 90% below its aim"
    assert rows(render(report(judge=JUDGE)))["Realism at ±1"] == "Realism at ±1 – 81% ≥ 90% below its aim"
    assert rows(render(report()))["Realism at ±1"] == "Realism at ±1 100% ≥ 90% ✓ met"


def test_what_sliders_do_to_each_other():
    page, told = Page(render(evaluated())), rows(render(evaluated()))
    assert (told["Kept beside others"], told["Adds up"], told["Overlap"]) == (
        "Kept beside others 85%",
        "Adds up 0.72",
        "Overlap 0.20",
    )
    assert "are with 3 sliders on at once" in page.text
    assert "align 0.01 (judge 0.00) with random directions" in page.text
    alone = rows(
        render(
            evaluated(
                evaluation=EVALUATION | {"side_effects": {"active": 1, "retained": [1] * 3, "additivity": [1] * 3}}
            )
        )
    )
    assert {"Kept beside others", "Adds up"}.isdisjoint(alone), "with one slider there are no others"


def test_each_view_has_its_heat_map_on_one_scale():
    html = render(evaluated())
    page = Page(html)
    assert page.tags.count("svg") - Page(render(report())).tags.count("svg") == 1 + 2 + 2, (
        "the judge's, consistency and span, two by step"
    )
    assert "slider 0 moves direction 1: 0.21" in page.text
    assert "slider 1 moves direction 2: −0.11" in page.text
    own = [mark["fill-opacity"] for mark in marks(html, "rect", "plus own")]
    assert own[0] == "1.0"
    assert own[3] == "0.5", "0.4 of the judge's beside 0.8"
    assert page.text.count("+0.80") == 2


def test_a_cell_that_is_missing_says_so():
    assert heats([[[1, float("nan")], [None, 0.5]]])[0]["cells"][0][1]["tip"].endswith("direction 1: –")


def test_dots_and_whiskers_lie_at_their_consistency():
    html = render(evaluated())
    dots, whiskers = marks(html, "circle", "spot"), marks(html, "line", "whisker")
    assert [dot["cx"] for dot in dots[:3]] == ["60.00%", "50.00%", "25.00%"], (
        "at one unit as evaluated, else as discovered"
    )
    assert [dot["class"] for dot in dots[:3]] == ["spot shade-0", "spot shade-1", "spot shade-2"]
    assert [(w["x1"], w["x2"]) for w in whiskers] == [("55.00%", "65.00%")] * 3
    assert "slider 0 at 1 unit: consistency 0.60 (0.55–0.65)" in Page(html).text
    plain = render(evaluated(evaluation=None))
    assert marks(plain, "circle", "spot")[0]["cx"] == "70.00%"
    assert not marks(plain, "line", "whisker")


def test_spans_lie_where_they_reach():
    html = render(evaluated())
    (first, *_) = spans = marks(html, "rect", "span")
    assert len(spans) == 3
    assert float(first["x"].rstrip("%")) == pytest.approx(100 / 6, abs=0.01)
    assert float(first["width"].rstrip("%")) == pytest.approx(500 / 6, abs=0.01)
    assert "slider 0 is usable from −2 to +3 units" in Page(html).text
    assert "usable −2 … +3" in Page(html).text, "on its card too"


def test_rows_of_the_two_panels_are_aligned():
    drawn = reach([{"index": k, "consistency_by_size": [0.5], "span": [-1, 1]} for k in range(4)], (1.0,))
    assert drawn
    assert all(row["dots"][0]["y"] == row["y"] for row in drawn["rows"])
    assert len({row["y"] for row in drawn["rows"]}) == 4


def test_a_slider_without_dots_or_span_keeps_its_row():
    drawn = reach(
        [{"index": 0, "consistency_by_size": [None, float("nan")], "span": [None, 2]}, {"index": 1, "span": [0, 0]}],
        (1.0, 2.0),
    )
    assert drawn
    assert (drawn["rows"][0]["dots"], drawn["rows"][0]["span"]) == ([], None)
    assert "no usable span" in drawn["rows"][1]["span"]["tip"]
    assert reach([{"index": 0}], (1.0,)) is None


def test_factors_are_named_where_a_slider_moves_them():
    html = render(evaluated())
    page, cells = Page(html), marks(html, "td", "effect")
    assert [cell["title"] for cell in cells[:4]] == [
        "slider 0, hair colour: 0.50, blond → black", "slider 0, glasses: 0.10, none → round",
        "slider 1, hair colour: 0.19, red → grey", "slider 1, glasses: 0.20, none → square",
    ]  # fmt: skip
    assert [cell["style"] for cell in cells[:2]] == ["--effect: 1.0", "--effect: 0.2"]
    assert ["own" in cell["class"] for cell in cells] == [True, False, False, False, False, False]
    assert "0.50 blond → black" in page.text
    assert "0.20 none → square" in page.text, "0.2 is worth saying"
    assert "red → grey" not in page.text, "0.19 is not"
    assert "1 of 2 factors have a slider of their own, and 1 of 3 sliders move one factor only." in page.text


def test_factors_are_compared_with_controls():
    told, page = rows(render(evaluated())), Page(render(evaluated()))
    assert told["Gap"] == "Gap 0.16 0.11–0.21 0.02"
    assert told["Completeness"] == "Completeness 0.33 0.28–0.38 –"
    assert (told["Own slider"], told["One factor"]) == ("Own slider 1 0", "One factor 1 2")
    assert "told by all 0.77 0.66 at random 0.44 – told by one 0.22 0.11" in page.text
    plain = render(evaluated(evaluation=None))
    assert rows(plain)["Gap"] == "Gap 0.15"
    assert "Own slider" not in rows(plain), "the sentence says it"
    assert "told by" not in Page(plain).text


def test_a_weak_table_stays_pale_and_an_empty_one_is_none():
    weak = effect_table({"names": ["a"], "effects": [[0.1], [float("nan")]]})
    assert weak
    assert [row["cells"][0]["alpha"] for row in weak["rows"]] == [0.25, 0.0]
    assert weak["rows"][1]["cells"][0]["tip"] == "slider 1, a: –"
    assert effect_table({}) is None
    assert effect_table({"names": [], "effects": None}) is None
    assert effect_table({"names": ["a"], "effects": []}) is None


def test_steps_show_the_mean_and_every_slider():
    html = render(evaluated())
    page = Page(html)
    for text in ("step 0: 0.20 on average", "step 9: 0.40 on average", "step 4: 0.70 on average"):
        assert text in page.text
    assert len(marks(html, "polyline", "curve faint")) == 2 * 3


def test_a_step_that_was_not_measured_is_left_out():
    drawn = by_step([0, 1, 2], [[0.2, None, 0.4], [float("nan"), None, 0.2]])
    assert drawn
    assert [dot["tip"] for dot in drawn["dots"]] == ["step 0: 0.20 on average", "step 2: 0.30 on average"]
    assert [len(line.split()) for line in drawn["faint"]] == [2, 1]
    assert by_step([0], [[0.5]]) is None
    assert by_step([0, 1], None) is None


def test_a_curve_below_zero_has_room():
    drawn = by_step([0, 1], [[0.4, -0.4]])
    assert drawn
    assert drawn["axis"][0]["text"] == "−0.4"
    zero = next(tick["y"] for tick in drawn["axis"] if tick["zero"])
    assert drawn["dots"][0]["y"] < zero < drawn["dots"][1]["y"]
    assert zero - drawn["dots"][0]["y"] == pytest.approx(drawn["dots"][1]["y"] - zero)


SECTIONS = {"factors", "reach", "steps"}


def test_a_plain_discovery_has_no_empty_sections():
    page = Page(render(report()))
    assert not SECTIONS & set(page.values("id"))
    assert "Judge" not in page.text
    assert "95 %" not in page.text
    assert set(page.values("id")) < set(Page(render(evaluated())).values("id"))


@pytest.mark.parametrize("empty", [False, True])
@pytest.mark.parametrize("part", ["views", "factors", "by_step", "side_effects", "orthogonality", "controls", "seeds"])
def test_any_part_of_an_evaluation_may_be_absent(part: str, empty: bool):
    absent = type(EVALUATION[part])() if empty else None
    data = evaluated(evaluation=EVALUATION | {part: absent}, factors=None, judge=None)
    page = Page(render(data))
    gone = {"factors": {"factors"}, "by_step": {"steps"}}.get(part, set[str]())
    assert SECTIONS & set(page.values("id")) == SECTIONS - gone
    assert "None" not in page.text


def test_without_the_judges_part_of_an_evaluation_its_first_word_stands():
    views = {**EVALUATION["views"], "judge": None}
    assert rows(render(evaluated(evaluation=EVALUATION | {"views": views})))["Alignment"].split()[3] == "0.31"


def test_what_an_evaluation_left_blank_stays_as_it_was_discovered():
    blank = {"mean": {"alignment": None}, "sliders": [{"index": 0, "span": None}], "leakage": None}
    html = render(
        evaluated(evaluation={"views": {"training": blank}, "factors": {"becomes": None, "gap": [0.31, 0.32, 0.33]}})
    )
    assert rows(html)["Alignment"].split()[1] == "0.50"
    assert len(marks(html, "rect", "span")) == 3
    for text in ("slider 0 moves direction 0: 0.49", "slider 0, glasses: 0.10, none → round", "0.31"):
        assert text in Page(html).text + " ".join(Page(html).values("title"))


def without_numbers(value: Any, nothing: float | None) -> Any:
    if isinstance(value, dict):
        return {key: without_numbers(v, nothing) for key, v in value.items()}
    if isinstance(value, list):
        return [without_numbers(v, nothing) for v in value]
    return value if isinstance(value, str) or value is None else nothing


@pytest.mark.parametrize("nothing", [None, float("nan"), float("inf")])
def test_an_evaluation_without_a_single_number_is_dashes(nothing: float | None):
    parts = {
        name: without_numbers(part, nothing)
        for name, part in {"judge": JUDGE, "factors": FACTORS, "evaluation": EVALUATION}.items()
    }
    sliders = [slider(k, consistency_by_size=[nothing] * 3, span=[nothing, nothing]) for k in range(3)]
    page = Page(render(evaluated(sliders=sliders, **parts)))
    assert not re.search(r"\b(nan|inf|None)\b", page.text)
    assert not [value for _, name, value in page.attributes if name != "alt" and re.search(r"nan|inf\b|None", value)]
    assert {"reach", "steps"}.isdisjoint(page.values("id"))
    assert "slider 0, glasses: –, none → round" in page.values("title")


def test_estimates_are_numbers_or_triples():
    assert estimate(0.5) == (0.5, None, None)
    assert estimate({"value": 0.5, "low": float("nan"), "high": 1}) == (0.5, None, 1)
    assert estimate({"value": 0.5, "low": float("nan"), "high": 1}).range() is None
    assert estimate(around(0.5)).range() == "0.45–0.55"
    assert written(-0.001) == "0.00"
    assert written(-0.01) == "−0.01"


def test_a_run_shows_its_evaluation_until_it_is_measured_again(finished: Path, tmp_path: Path):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    run = RunFolder(folder)

    def page() -> Page:
        return Page(report_run(run).read_text(encoding="utf-8"))

    assert "steps" not in page().values("id")
    save_json(
        run.evaluation, EVALUATION | {"made_from": stored_fingerprint(run.measures)}, kind="evaluation", fingerprint="f"
    )
    assert "over 64 seeds" in page().text
    assert "steps" in page().values("id")
    save_json(run.evaluation, EVALUATION | {"made_from": "another"}, kind="evaluation", fingerprint="f")
    assert "steps" not in page().values("id"), "it is of sliders that are no more"


# ---- pictures on the page


def test_small_pictures_are_exact_and_large_ones_shrunk():
    def first(size: int) -> Any:
        page = Page(render(report(base_images=pictures(1, size=size))))
        uri = page.values("src")[0]
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))))

    np.testing.assert_array_equal(first(64), pictures(1, size=64)[0])
    assert first(1024).shape == (256, 256, 3)


def test_many_sliders_make_a_page_that_can_be_opened(tmp_path: Path):
    data = report(
        sliders=[slider(k) for k in range(64)], leakage=np.eye(64), explained_variance_ratio=np.full(64, 0.01)
    )
    write_report(tmp_path / "report.html", data)
    assert (tmp_path / "report.html").stat().st_size < 3_000_000
    assert len(Page((tmp_path / "report.html").read_text(encoding="utf-8")).values("id", "article")) == 64


def test_pictures_of_another_kind_are_refused():
    for wrong in (np.zeros((2, 8, 8, 3)), np.zeros((2, 8, 8), np.uint8), np.zeros((2, 0, 8, 3), np.uint8)):
        with pytest.raises(BadInput, match="uint8"):
            render(report(base_images=wrong))


@pytest.mark.parametrize(
    ("value", "top"), [(0.11, 0.12), (0.15, 0.16), (1.0, 1.0), (0.0, 1.0), (37, 40), (float("nan"), 1.0)]
)
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


@pytest.mark.parametrize(
    ("span", "shown"),
    [(None, ["−3", "base", "+3"]), ([-1.0, 2.0], ["−1", "base", "+2"]), ([0.0, 0.0], ["−1", "base", "+1"])],
)
def test_a_glance_shows_how_far_a_slider_can_be_turned(span: list[float] | None, shown: list[str]) -> None:
    """And never less than one unit either way, broken or not."""
    entry = slider(0, **({"span": span} if span else {}))
    page = render(report(sliders=[entry], leakage=[[0.5]]))
    three = re.search(r'<span class="three">(.*?)</a>', page, re.DOTALL)
    assert three and re.findall(r'alt="">([^<]*)<', three[1]) == shown
