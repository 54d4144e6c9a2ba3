"""The page shows every slider and every warning, stands alone, and no text on it can run or load anything."""

import base64
import hashlib
import io
import re
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.html import Page

from sliderspace.core.errors import BadInput, DamagedFile
from sliderspace.core.numbers import written
from sliderspace.core.settings import Settings
from sliderspace.measure.results import Evaluation, Interval, Means, Measures, SliderMeasures
from sliderspace.method.strengths import shown_mixes
from sliderspace.report.cells import heats
from sliderspace.report.charts import ends_of
from sliderspace.report.from_run import report_run, reported_of
from sliderspace.report.page import ReportData, render, write_report
from sliderspace.report.verdicts import CLEAN, MEASURES, PROTOCOLS, TOGETHER, warnings_for
from sliderspace.space.labels import Label
from sliderspace.storage.files import load_json, load_tensors, save_json, save_tensors, stored_fingerprint
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
GOOD: dict[str, Any] = {
    "alignment": 0.5, "consistency": 0.7, "selectivity": 4.0, "monotone_share": 1.0, "realism": 1.0, "realism_2": 0.9,
    "own_direction_largest": True, "explained_variance_ratio": 0.1, "unit": 0.4, "unit_reached": True,
}  # fmt: skip
MEAN: dict[str, Any] = GOOD | {"own_direction_largest": 1.0, "unit_reached": 1.0, "effective_rank": 2.5}


def pictures(*shape: int, size: int = 6, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (*shape, size, size, 3), dtype=np.uint8)


def slider(**changed: Any) -> dict[str, Any]:
    return GOOD | changed


def measures(*sliders: dict[str, Any], **changed: Any) -> Measures:
    """Of three good sliders, if none are given."""
    rows = [{"index": k, **row} for k, row in enumerate(sliders or [slider()] * 3)]
    values: dict[str, Any] = {"sliders": rows, "mean": MEAN, "leakage": np.eye(len(rows)) * 0.5 - 0.01}
    return Measures.model_validate(values | changed)


def report(measured: Measures | None = None, **changed: Any) -> ReportData:
    found = measured or measures()
    count = len(found.sliders)
    values: dict[str, Any] = {
        "settings": Settings(prompts=("a portrait",)), "measures": found, "labels": [Label()] * count,
        "strips": pictures(count, 2, 2 * len(found.sizes) + 1), "base_images": pictures(5), "created": "today",
        "explained_variance_ratio_K": np.array([0.2, 0.1, 0.05, *[0.01] * count])[:count], "step_share": 0.025,
        "history": ((0, -0.01), (50, 0.1), (100, 0.15)), "folder": "runs/p",
    }  # fmt: skip
    return ReportData(**values | changed)


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
TOLD: dict[str, Any] = {
    "informativeness": {"hair_colour": 0.77, "glasses": 0.66}, "mutual_information_gap": {"hair_colour": 0.22, "glasses": 0.11},
}  # fmt: skip
EVALUATION: dict[str, Any] = {
    "seeds": 64,
    "views": {
        "training": {
            "encoder": "x", "leakage": [[0.8, 0.21, 0.0], [0.0, 0.5, 0.0], [0.0, 0.0, 0.5]],
            "sliders": [{"index": k, "consistency": around(0.6)} for k in range(3)],
            "mean": {"alignment": around(0.43), "own_direction_largest": around(2 / 3, 1 / 3), "realism": around(0.97)},
        },
        "judge": {
            "encoder": "abc", "leakage": JUDGE["leakage"], "sliders": [{"index": k} for k in range(3)],
            "mean": {"alignment": around(0.02), "realism": around(0.82)},
        },
    },
    "factors": FACTORS | TOLD | {
        "mean": {"gap": around(0.16), "disentanglement": around(0.42), "completeness": around(0.33)},
        "controls": {"random directions": {"gap": 0.02, "disentanglement": 0.12, "own_sliders": 0, "single_factor": 2}},
        "told_by_random_directions": TOLD | {"informativeness": {"hair_colour": 0.44, "glasses": None}},
    },
    "by_step": {"steps": [0, 4, 9], "alignment": [[0.1, 0.2, 0.3], [0.3, 0.4, 0.5], [0.2, 0.3, 0.4]], "consistency": [[0.6, 0.7, 0.8]] * 3},
    "side_effects": {"active": 3, "retained": [0.9, 0.8, None], "additivity": [0.7, 0.7, 0.76]},
    "orthogonality": [[1.0, 0.1, 0.2], [0.1, 1.0, 0.3], [0.2, 0.3, 1.0]],
    "controls": {"training": {"random directions": {"alignment": 0.013}}, "judge": {"random directions": {"alignment": -0.001}}},
    "made_from": "f",
}  # fmt: skip
ALL: dict[str, Any] = {"judge": JUDGE, "factors": FACTORS}


def reached() -> list[dict[str, Any]]:
    sizes = [[0.7, 0.5, 0.25], [0.6, 0.5, 0.4], [0.65, 0.55, 0.35]]
    return [slider(consistency_by_size=found, span=[-2, 3]) for found in sizes]


def evaluated(
    measured: Measures | None = None, evaluation: dict[str, Any] | None = EVALUATION, **changed: Any
) -> ReportData:
    """A space of which everything is known."""
    found = measured or measures(*reached(), **ALL)
    return report(found, evaluation=Evaluation.model_validate(evaluation) if evaluation else None, **changed)


# ---- nothing on it runs or loads

EVIL = """"><script>alert(1)</script><img src=x onerror=alert(2)> {{ 7*7 }} {% raw %} ' </style></title> javascript:alert(3) &lt;b&gt;"""


def with_text_everywhere(text: str) -> ReportData:
    """In every place that a text of strangers has; no charts that take long, as they hold none."""
    factors = {**FACTORS, "names": [text, text + " "], "becomes": [[[text, text]] * 2] * 3, "effects": [[0.5, 0.4]] * 3}
    told = {part: dict.fromkeys(factors["names"], 0.1) for part in TOLD}
    more = {"controls": {text: {"gap": 0.1}}, "told_by_random_directions": told, "mean": {}}
    controls = {"training": {text: {"alignment": 0.1}}, "judge": None}
    one_step = {"steps": [0], "alignment": [[0.1]] * 3, "consistency": [[0.1]] * 3}
    return evaluated(
        measures(judge=JUDGE, factors=factors), EVALUATION | {"factors": factors | told | more, "controls": controls, "by_step": one_step},
        settings=Settings(prompts=(text, text), backbone=text, encoder=text, decoder=text), created=text, notes=(text,), folder=text,
        labels=[Label(name=text), Label(name="x", sentence=text), Label()], history=(),
    )  # fmt: skip


def test_a_prompt_with_a_script_is_inert():
    page, harmless = Page(render(with_text_everywhere(EVIL))), Page(render(with_text_everywhere("x")))
    assert page.tags == harmless.tags
    assert [(t, n) for t, n, _ in page.attributes] == [(t, n) for t, n, _ in harmless.attributes]
    assert page.scripts == harmless.scripts
    assert page.text.count(" ".join(EVIL.split())) >= 8, "it is shown as it was written"


@given(st.text(min_size=1).filter(str.strip))
@hypothesis.settings(max_examples=40)
def test_no_text_changes_what_the_page_is_made_of(text: str):
    page, harmless = Page(render(with_text_everywhere(text))), harmless_page()
    assert page.tags == harmless.tags
    assert [(t, n) for t, n, _ in page.attributes] == [(t, n) for t, n, _ in harmless.attributes]


@cache
def harmless_page() -> Page:
    return Page(render(with_text_everywhere("x")))


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
        report(measures(slider())),
    ):
        page = Page(render(data))
        assert {link[1:] for link in page.values("href")} <= set(page.values("id"))


# ---- what it shows


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("a\x1b[31mred", "a␛[31mred"),
        ("abc\u202edcb", "abc⟨U+202E⟩dcb"),
        ("nul\x00", "nul␀"),
        ("a\u200bb", "a⟨U+200B⟩b"),
    ],
)
def test_what_acts_unseen_never_reaches_the_page(text: str, seen: str):
    """ESC, NUL and characters that turn a line round, in prompts, names, factors and the name of the folder."""
    html = render(with_text_everywhere(text))
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2066-\u2069]", html)
    page = Page(html)
    assert page.text.count(seen) >= 8
    assert f"Slider 0 · {seen}" in page.values("data-title")


def test_an_unsure_name_is_said_to_be_one():
    guess = Label(name="horns", proposed="horns", sentence="It grows horns.", by="openai:m")
    page = Page(render(report(labels=[guess, guess.model_copy(update={"passed": True}), Label()])))
    assert page.text.count("(horns)") == 2 and page.text.count("It grows horns.") == 2
    assert page.values("title").count("A guess by openai:m that did not pass its checks.") == 2
    assert {"Slider 0 · (horns)", "Slider 1 · horns", "Slider 2"} <= set(page.values("data-title"))


def test_each_slider_appears_with_all_its_pictures_and_commands():
    data = report(folder="my runs/person")
    page = Page(render(data))
    for k, strips in enumerate(np.asarray(data.strips)):
        assert f"slider-{k}" in page.values("id", "article")
        assert f"sliderspace generate 'my runs/person' --set {k}=1.5 --seeds 0-15" in page.text
        assert f"sliderspace sweep 'my runs/person' {k}" in page.text
        for row, letter in zip(strips, "AB", strict=True):
            for image, scale in zip(row, SCALES, strict=True):
                label = "base" if scale == 0 else scale_label(scale)
                assert f"slider {k}, seed {letter}, {label}" in page.values("alt")
                assert data_uri(image) in page.values("src")


def test_mixes_stand_beside_the_same_seeds_alone_with_what_is_in_them():
    data = report(
        mixes=pictures(3, seed=1),
        base_images=pictures(5, seed=2),
        labels=[Label(name="horns"), Label(), Label(name="tail")],
    )
    page = Page(render(data))
    told = shown_mixes(3, 3).numpy()
    for seed, (alone, mixed) in enumerate(zip(np.asarray(data.base_images), np.asarray(data.mixes), strict=False)):
        assert page.values("src").count(data_uri(alone)) == 2 and data_uri(mixed) in page.values("src")
        assert f"seed {seed} with the sliders below" in page.values("alt")
        signs = ["+1" if strength > 0 else "−1" for strength in told[seed]]
        assert f"{signs[0]} 0 · horns {signs[1]} 1 {signs[2]} 2 · tail" in page.text
    assert "--mix 3 --seeds 0-2" in page.text and "mixes" in page.values("id", "section")
    one = report(measures(slider()), mixes=pictures(3))
    for without in (report(), one):
        assert "mixes" not in Page(render(without)).values("id", "section")


def test_the_base_column_is_marked_once_a_row():
    page = Page(render(report()))
    assert page.values("class").count("cell base") == 3 * 2
    assert page.values("class").count("tick base") == 3


def test_strips_are_labelled_with_the_sizes_that_were_measured():
    page = Page(render(report(measures(slider(), sizes=(1.0, 2.5)))))
    assert [text for text in page.texts if text in {"−2.5", "−1", "base", "+1", "+2.5"}][-5:] == [
        "−2.5",
        "−1",
        "base",
        "+1",
        "+2.5",
    ]
    assert "slider 0, seed A, −2.5" in page.values("alt")


def test_prompt_samples_measures_and_settings_are_shown():
    data = report(settings=Settings(prompts=("a portrait", "a person, ink drawing")), notes=("took 3 min",))
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
    assert "0.39 ≥ 0.40 below its aim" in Page(render(report(measures(mean={"alignment": 0.3949})))).text
    fine = measures(mean={"alignment": 0.4, "own_direction_largest": 1.0})
    assert "below its aim" not in Page(render(report(fine))).text


def test_own_direction_is_counted_in_sliders():
    data = report(measures(*[slider()] * 16, mean={"own_direction_largest": 13 / 16}))
    assert "13 of 16 ≥ 14 of 16 below its aim" in Page(render(data)).text


def test_warnings_show_on_the_card_and_in_the_overview():
    page = Page(render(report(measures(slider(), slider(consistency=0.1, realism_2=0.1), slider()))))
    assert "It does different things on different seeds. Beyond one unit images break: stay within ±1." in page.text
    assert "⚠ 2 warnings" in page.text
    assert "1 with a warning" in page.text
    assert "none with a warning" in Page(render(report())).text


def test_charts_hold_their_values():
    page = Page(render(report(measures(leakage=[[0.5, -0.25, 0.0], [0, 0.4, 0.1], [0, 0, 0.3]]))))
    assert "slider 0 moves direction 1: −0.25" in page.text
    assert "slider 0: 20.0% of the variance" in page.text
    assert "after 100 updates: 0.150" in page.text
    first_leak = page.text.split("Strongest leaks")[1].split("slider 1 →")[0]
    assert first_leak.split() == ["slider", "0", "→", "direction", "1", "−0.25"]


def test_what_could_not_be_measured_is_a_dash():
    nothing = measures(dict.fromkeys(GOOD), mean={}, leakage=[[None]])
    numbers = {
        "history": ((0, None), (1, float("nan"))),
        "step_share": 0.0,
        "explained_variance_ratio_K": np.array([np.nan]),
    }
    page = Page(render(report(nothing, **numbers)))
    assert "nan" not in page.text.lower()
    assert "None" not in page.text
    assert "Alignment –" in page.text
    assert "training" not in page.values("id")


# ---- what an evaluation adds


def protocol(value: float, chance: float) -> dict[str, Any]:
    return {"mean": around(value), "chance": chance, "each": [value] * 3}


PROTOCOLLED: dict[str, Any] = {
    "training": {"pairs": protocol(0.8, 0.25), "triples": None, "evenness": protocol(0.61, 0.845)},
    "judge": {"pairs": protocol(0.7, 0.26), "triples": None, "evenness": protocol(0.5, 0.845)},
    "stability": None, "observability": None,
}  # fmt: skip


def test_protocols_of_both_views_with_their_chance():
    html = render(evaluated(evaluation=EVALUATION | {"protocols": PROTOCOLLED}))
    told = rows(html)
    assert told["Pairs"] == "Pairs 80% 75%–85% 70% 65%–75%"
    assert told["Evenness"] == "Evenness 0.61 0.56–0.66 0.50 0.45–0.55"
    assert "Triples" not in told and "By chance 25%." in Page(html).text
    alone = rows(render(evaluated(evaluation=EVALUATION | {"protocols": PROTOCOLLED | {"judge": None}})))
    assert alone["Pairs"].startswith("Pairs 80% 75%–85%")


def rows(html: str) -> dict[str, str]:
    """The words of each table row, by its first cell; the explanations left out."""
    found = (re.sub(r'<td class="what">.*?</td>', "", row) for row in re.findall(r"<tr>(.*?)</tr>", html, re.DOTALL))
    words = (Page(row).text for row in found)
    return {
        key: row
        for row in words
        for key in [m.name for m in (*MEASURES, *TOGETHER, *PROTOCOLS, *CLEAN)]
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


def test_what_another_judge_said_is_not_filled_up_with_the_first_ones():
    other = EVALUATION["views"] | {"judge": EVALUATION["views"]["judge"] | {"encoder": "another"}}
    told = rows(render(evaluated(evaluation=EVALUATION | {"views": other})))
    assert told["Alignment"] == "Alignment 0.43 0.38–0.48 0.02 −0.03 to 0.07 ≥ 0.40 ✓ met"
    assert told["Consistency"] == "Consistency 0.70 – ≥ 0.50 ✓ met"


def test_sentences_keep_their_distance():
    assert not re.findall(
        r"[a-z]\.[A-Z]\w+ \w+", Page(render(evaluated(step_share=0.1, history=[(1, 0.1), (2, 0.2)]))).text
    )


def test_realism_is_the_judges_word():
    assert rows(render(evaluated()))["Realism at ±1"] == "Realism at ±1 97% 92%–102% 82% 77%–87% ≥ 90% below its aim"
    assert rows(render(report(measures(judge=JUDGE))))["Realism at ±1"] == "Realism at ±1 – 81% ≥ 90% below its aim"
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
    effects = {"active": 1, "retained": [1] * 3, "additivity": [1] * 3}
    alone = rows(render(evaluated(evaluation=EVALUATION | {"side_effects": effects})))
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
    assert heats([((1.0, None), (None, 0.5))])[0].cells[0][1].tip.endswith("direction 1: –")


def of_chart(html: str, label: str) -> str:
    """The SVG with that name."""
    (found,) = (svg for svg in re.findall("<svg.*?</svg>", html, re.DOTALL) if f'aria-label="{label}' in svg)
    return found


def across(svg: str, tip: str) -> list[float]:
    """Where the mark with a tip lies, from left to right in the chart's own units."""
    before = svg.partition(f"<title>{tip}")[0]
    mark = before[before.rindex("<") :]
    if used := re.search(r' x="([\d.]+)"', mark):
        return [float(used[1])]
    return sorted({float(x) for x in re.findall(r"[ML] ?([\d.]+) ", mark)})


def test_dots_lie_at_their_consistency():
    svg = of_chart(render(evaluated()), "Consistency of 3 sliders")
    tips = {
        0.6: "slider 0 at 1 unit: consistency 0.60 (0.55–0.65)",
        0.5: "slider 0 at 2 units",
        0.25: "slider 0 at 3 units",
    }
    (at_60,), (at_50,), (at_25,) = (across(svg, tip) for tip in tips.values())
    assert (at_60 - at_50) / (at_50 - at_25) == pytest.approx(0.1 / 0.25, abs=0.01)
    assert svg.count("opacity: 0.6") == 3, "a whisker at one unit, as evaluated"
    plain = of_chart(render(evaluated(evaluation=None)), "Consistency of 3 sliders")
    assert "slider 0 at 1 unit: consistency 0.70<" in plain
    assert "opacity: 0.6" not in plain


def test_spans_lie_where_they_reach():
    html = render(evaluated(measures(slider(span=[-2, 3]), slider(span=[-3, 3]), slider(span=[0, 0]), **ALL)))
    svg = of_chart(html, "Usable span of 3 sliders")
    (low, high), (left, right) = (across(svg, f"slider {k} is usable from") for k in (0, 1))
    assert (high - low) / (right - left) == pytest.approx(5 / 6, abs=0.01) and high == right
    assert "slider 0 is usable from −2 to +3 units" in Page(html).text
    assert "slider 2 has no usable span" in Page(html).text
    assert "usable −2 … +3" in Page(html).text, "on its card too"


def test_a_slider_without_dots_or_span_keeps_its_row():
    rows = [
        slider(consistency_by_size=[None, None], span=[None, 2], consistency=None),
        slider(consistency_by_size=[0.5, 0.4]),
    ]
    html = render(report(measures(*rows, sizes=(1.0, 2.0))))
    svg = of_chart(html, "Consistency of 2 sliders")
    assert "slider 1 at 2 units: consistency 0.40" in svg
    assert "slider 0 at" not in svg
    assert "Usable span of" not in html
    assert "reach" not in Page(render(report())).values("id")


def test_charts_take_their_colours_from_the_page_and_leave_nothing_else_of_their_own():
    """Light and dark are the style sheet's; a style sheet of a chart would hold for the whole page."""
    html = render(evaluated())
    charts = [svg for svg in re.findall("<svg.*?</svg>", html, re.DOTALL) if 'class="chart"' in svg]
    assert len(charts) == 6
    for svg in charts:
        assert "var(--plus)" in svg and not re.search(r"#[0-9a-f]{6}|<style|DejaVu|xmlns|<image", svg)
        assert set(re.findall(r'href="#(\w+)"', svg)) <= set(re.findall(r' id="(\w+)"', svg))
    ids = Page(html).values("id")
    assert len(ids) == len(set(ids))
    assert render(evaluated()) == html, "the same numbers give the same bytes"


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
    assert "all together 0.77 0.66 at random 0.44 – one alone 0.22 0.11" in page.text
    plain = render(evaluated(evaluation=None))
    assert rows(plain)["Gap"] == "Gap 0.15"
    assert "Own slider" not in rows(plain), "the sentence says it"
    assert "all together" not in Page(plain).text


def test_a_weak_table_stays_pale_and_an_empty_one_is_not_there():
    weak = FACTORS | {"names": ["a"], "effects": [[0.1], [None]], "becomes": [[None], [None]], "gap": [0.1, None]}
    html = render(report(measures(slider(), slider(), factors=weak)))
    assert [cell["style"] for cell in marks(html, "td", "effect")] == ["--effect: 0.25", "--effect: 0.0"]
    assert "slider 1, a: –" in Page(html).values("title")
    none = FACTORS | {"names": [], "effects": [[], []], "becomes": [[], []], "gap": [None, None]}
    assert "factors" not in Page(render(report(measures(slider(), slider(), factors=none)))).values("id")


def test_steps_show_the_mean_and_every_slider():
    html = render(evaluated())
    page = Page(html)
    for text in ("step 0: 0.20 on average", "step 9: 0.40 on average", "step 4: 0.70 on average"):
        assert text in page.text
    for name in ("Alignment", "Consistency"):
        assert of_chart(html, f"{name} over the sampler steps").count("opacity: 0.25") == 3


def test_a_step_that_was_not_measured_is_left_out():
    table = [[0.2, None, 0.4], [None, None, 0.2], [None, None, 0.3]]
    by_step = {"steps": [0, 1, 2], "alignment": table, "consistency": [[0.5, None, None]] * 3}
    html = render(evaluated(evaluation=EVALUATION | {"by_step": by_step}))
    tips = re.findall("<title>(step.*?)</title>", html)
    assert tips == ["step 0: 0.20 on average", "step 2: 0.30 on average"], "one step alone is no curve"


def test_a_curve_below_zero_has_room():
    svg = of_chart(render(report(history=((0, 0.4), (50, -0.4)))), "Held-out alignment over training, −0.40 at the end")
    assert "after 50 updates: -0.400" in svg and ">−0.4</text>" in svg and ">0.4</text>" in svg


SECTIONS = {"factors", "reach", "steps"}


def test_a_plain_discovery_has_no_empty_sections():
    page = Page(render(report()))
    assert not SECTIONS & set(page.values("id"))
    assert "Judge" not in page.text
    assert "95 %" not in page.text
    assert set(page.values("id")) < set(Page(render(evaluated())).values("id"))


def test_without_the_judges_part_of_an_evaluation_its_first_measures_stand():
    views = {**EVALUATION["views"], "judge": None}
    html = render(
        evaluated(evaluation=EVALUATION | {"views": views, "controls": EVALUATION["controls"] | {"judge": None}})
    )
    assert rows(html)["Alignment"].split()[3] == "0.31"
    assert "align 0.01 (judge –) with" in Page(html).text


def test_an_evaluation_by_another_judge_brings_one_in():
    html = render(evaluated(measures(*reached())))
    assert rows(html)["Alignment"] == "Alignment 0.43 0.38–0.48 0.02 −0.03 to 0.07 ≥ 0.40 ✓ met"


def test_what_an_evaluation_left_blank_stays_as_it_was_discovered():
    blank = {"encoder": "x", "mean": {"alignment": around(np.nan)}, "sliders": [{}] * 3, "leakage": [[None] * 3] * 3}
    html = render(evaluated(evaluation=EVALUATION | {"views": {"training": blank, "judge": None}, "factors": None}))
    assert rows(html)["Alignment"].split()[1] == "0.50"
    for text in (
        "slider 0 at 1 unit: consistency 0.70",
        "slider 0, glasses: 0.10, none → round",
        "slider 0 moves direction 0: –",
    ):
        assert text in Page(html).text + " ".join(Page(html).values("title"))


def without_numbers(value: Any, nothing: float | None) -> Any:
    if isinstance(value, dict):
        return {key: v if key == "index" else without_numbers(v, nothing) for key, v in value.items()}
    if isinstance(value, list):
        return [without_numbers(v, nothing) for v in value]
    return value if isinstance(value, str) or value is None else nothing


@pytest.mark.parametrize("nothing", [None, float("nan"), float("inf")])
def test_an_evaluation_without_a_single_number_is_dashes(nothing: float | None):
    kept = {
        "seeds": 64,
        "factors": None,
        "side_effects": {"active": 3, "retained": [nothing] * 3, "additivity": [nothing] * 3},
    }
    by_step = without_numbers(EVALUATION["by_step"], nothing) | {"steps": [0, 4, 9]}
    evaluation = without_numbers(EVALUATION, nothing) | kept | {"by_step": by_step}
    factors = without_numbers(FACTORS, nothing) | {"own_sliders": 0, "single_factor": 0}
    sliders = [slider(consistency_by_size=[nothing] * 3, span=[nothing, nothing])] * 3
    page = Page(
        render(
            evaluated(
                measures(*sliders, judge=without_numbers(JUDGE, nothing) | {"sliders": [{}] * 3}, factors=factors),
                evaluation,
            )
        )
    )
    assert not re.search(r"\b(nan|inf|None)\b", page.text)
    assert not [value for _, name, value in page.attributes if name != "alt" and re.search(r"nan|inf\b|None", value)]
    assert "steps" not in page.values("id")
    assert "slider 0, glasses: –, none → round" in page.values("title")


def test_intervals_are_written_so_that_they_can_be_read():
    assert ends_of(Interval(value=0.5, low=float("nan"), high=1)) is None
    assert ends_of(Interval.model_validate(around(0.5))) == "0.45–0.55"
    assert ends_of(Interval.model_validate(around(0.02))) == "−0.03 to 0.07"
    assert written(-0.001) == "0.00"
    assert written(-0.01) == "−0.01"


# ---- from a run folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> RunFolder:
    return RunFolder(shutil.copytree(finished, tmp_path / "run"))


def test_a_run_shows_its_evaluation_until_it_is_measured_again(run: RunFolder):
    def page() -> Page:
        return Page(report_run(run).read_text(encoding="utf-8"))

    assert "steps" not in page().values("id")
    found = Evaluation.model_validate(EVALUATION | {"made_from": stored_fingerprint(run.measures)})
    found.write(run.evaluation, "f")
    assert "over 64 seeds" in page().text
    assert "steps" in page().values("id")
    found.model_copy(update={"made_from": "another"}).write(run.evaluation, "f")
    assert "steps" not in page().values("id"), "it is of sliders that are no more"


def test_a_page_names_the_measures_it_shows(run: RunFolder, tmp_path: Path):
    assert reported_of(run.report) == stored_fingerprint(run.measures)
    run.report.write_text("<html></html>")
    assert reported_of(run.report) == ""
    assert reported_of(tmp_path / "none.html") is None


def stamped_anew(path: Path) -> None:
    """The same contents, as if made from other settings."""
    if path.suffix == ".json":
        save_json(path, load_json(path, kind=path.stem), kind=path.stem, fingerprint="other")
        return
    tensors, meta = load_tensors(path, kind=path.stem)
    save_tensors(path, tensors, kind=path.stem, fingerprint="other", **meta)


@pytest.mark.parametrize(
    "name", ["directions.safetensors", "sliders.safetensors", "measures.json", "strips.safetensors"]
)
def test_parts_of_other_settings_are_named_and_not_mixed(run: RunFolder, name: str):
    before = run.report.read_bytes()
    stamped_anew(run.root / name)
    with pytest.raises(BadInput, match=f"{re.escape(name)} .*other settings.*\n.*sliderspace discover"):
        report_run(run)
    assert run.report.read_bytes() == before


def test_the_finished_space_is_reported_with_the_settings_it_was_made_with(run: RunFolder):
    """config.json asks for more by now, and nothing of that is there yet."""
    asked = load_json(run.config, kind="config") | {"updates": 77, "prompts": ["another"]}
    save_json(run.config, asked, kind="config", fingerprint="other")
    page = Page(report_run(run).read_text(encoding="utf-8"))
    assert "updates: 15 → 77" in page.text and "updates 15" in page.text and "updates 77" not in page.text


DAMAGE: dict[str, tuple[str, Any]] = {  # what a file holds that it should not
    "a slider less": ("measures.json", lambda v: v | {"sliders": v["sliders"][:2]}),
    "a list of lists": ("measures.json", lambda v: v | {"sliders": [[1, 2]]}),
    "words for a number": ("measures.json", lambda v: v | {"mean": {"alignment": "high"}}),
    "a matrix that is no square": ("measures.json", lambda v: v | {"leakage": [[1.0]] * 3}),
    "other sizes than the strips": ("measures.json", lambda v: v | {"sizes": [1.0]}),
    "a slider that is a word": ("space.json", lambda v: v | {"sliders": ["hat"] * 3}),
    "a unit that is null": ("space.json", lambda v: v | {"sliders": [{**s, "unit": None} for s in v["sliders"]]}),
    "too few names": ("space.json", lambda v: v | {"sliders": v["sliders"][:1]}),
    "no origin": ("space.json", lambda v: v | {"made_from": None}),
    "settings that are none": ("space.json", lambda v: v | {"settings": {"sliders": -1}}),
    "an evaluation that is a list": ("evaluation.json", lambda v: v | {"views": []}),
    "an evaluation of two sliders": ("evaluation.json", lambda v: v | {"orthogonality": [[1.0]]}),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_valid_json_with_wrong_contents_is_a_damaged_file(run: RunFolder, name: str):
    file, damage = DAMAGE[name]
    path, kind = run.root / file, file.removesuffix(".json")
    Evaluation.model_validate(EVALUATION | {"made_from": stored_fingerprint(run.measures)}).write(run.evaluation, "f")
    stamp = stored_fingerprint(path)
    save_json(path, damage(load_json(path, kind=kind)), kind=kind, fingerprint=str(stamp))
    with pytest.raises(DamagedFile) as told:
        report_run(run)
    assert len(str(told.value).splitlines()) == 2 and "sliderspace" in str(told.value).splitlines()[1]


@pytest.mark.parametrize(
    "tensors",
    [
        {},
        {"sliders": np.zeros((2, 4), np.uint8)},
        {"sliders": np.zeros((3, 4, 7, 0, 0, 3), np.uint8)},
        {"sliders": pictures(3, 4, 7), "mixes": pictures(2, size=5)},
        {"sliders": pictures(3, 4, 7), "mixes": pictures(5)},
    ],
)
def test_strips_of_another_shape_are_damaged(run: RunFolder, tensors: dict[str, Any]):
    kept = {"base": pictures(4)} if tensors else {}
    save_tensors(run.strips, tensors | kept, kind="strips", fingerprint=str(stored_fingerprint(run.strips)))
    with pytest.raises(DamagedFile, match=r"strips\.safetensors"):
        report_run(run)


# ---- pictures on the page


def test_small_pictures_are_exact_and_large_ones_shrunk():
    def first(size: int) -> Any:
        page = Page(render(report(base_images=pictures(1, size=size))))
        uri = page.values("src")[0]
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))))

    np.testing.assert_array_equal(first(64), pictures(1, size=64)[0])
    assert first(1024).shape == (256, 256, 3)


def test_many_sliders_make_a_page_that_can_be_opened(tmp_path: Path):
    data = report(measures(*[slider(consistency_by_size=[0.5, 0.4, 0.3], span=[-1, 1])] * 64))
    write_report(tmp_path / "report.html", data)
    assert (tmp_path / "report.html").stat().st_size < 3_000_000
    assert len(Page((tmp_path / "report.html").read_text(encoding="utf-8")).values("id", "article")) == 64


def test_pictures_of_another_kind_are_refused():
    for wrong in (np.zeros((2, 8, 8, 3)), np.zeros((2, 8, 8), np.uint8), np.zeros((2, 0, 8, 3), np.uint8)):
        with pytest.raises(BadInput, match="uint8"):
            render(report(base_images=wrong))


# ---- warnings


def one(**changed: Any) -> SliderMeasures:
    return SliderMeasures.model_validate(GOOD | changed)


def test_a_good_slider_has_no_warning():
    assert warnings_for(one(index=1), Means(alignment=0.5), [0, 0.5, 0]) == []


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
    warnings = warnings_for(one(index=1, **changed), Means(alignment=0.6))
    assert len(warnings) == 1
    assert said in warnings[0]


def test_a_slider_that_looks_like_another_names_it():
    lost = one(index=0, own_direction_largest=False)
    assert "slider 2:" in warnings_for(lost, None, [0.1, 0.2, 0.3])[0]
    assert "slider 2 turned round" in warnings_for(lost, None, [0.1, 0.2, -0.3])[0]
    assert "about as much as its own" in warnings_for(lost, None, [0.3, 0.2, 0.3])[0]
    assert "another slider's direction" in warnings_for(lost)[0]


def test_a_measure_that_is_missing_warns_of_nothing():
    assert warnings_for(SliderMeasures(), Means(), [None, None]) == []
    assert warnings_for(SliderMeasures()) == []


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
    assert data_uri(ramp[:64, :64]).startswith("data:image/png;")


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
    page = render(report(measures(slider(span=span))))
    three = re.search(r'<span class="three">(.*?)</a>', page, re.DOTALL)
    assert three and re.findall(r'alt="">([^<]*)<', three[1]) == shown
