"""Names by a model that sees pictures, against a local server that speaks both services' protocols: good, malformed, slow
and failing answers; and the blind test, which a labeller that guesses fails."""

import base64
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.language_server import BOTH, StandIn, serving
from typer.testing import CliRunner

from sliderspace.cli import app
from sliderspace.core.errors import BadInput, SliderSpaceError
from sliderspace.label.ask import Labeller, Named, orders, read
from sliderspace.label.naming import Agreement, name_sliders, passes
from sliderspace.label.pictures import pictures_of, sheet
from sliderspace.language.chat import open_chat
from sliderspace.space.labels import Checks, Label, labels_of, rename
from sliderspace.space.space import SliderSpace
from sliderspace.storage.run_folder import RunFolder

NAME = {
    "name": "brighter sky",
    "sentence": "The sky gets brighter.",
    "low": "dark",
    "high": "bright",
    "confidence": 0.8,
}
GOOD = json.dumps(NAME)
DARK, BRIGHT = (np.full((8, 8, 3), value, np.uint8) for value in (20, 220))
PAIRS = np.stack([np.stack([DARK, BRIGHT])] * 4)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    with serving(monkeypatch) as made:
        yield made


@pytest.fixture
def labeller(server: StandIn) -> Labeller:
    return Labeller(open_chat("openai", "m", base_url=server.url, timeout=0.3), "openai:m")


def sent(body: dict[str, Any]) -> tuple[str, list[np.ndarray]]:
    """The text and the pictures of a request, of either protocol."""
    content = body["messages"][0]["content"]
    text = next(part["text"] for part in content if part["type"] == "text")
    data = [
        p["source"]["data"] if p["type"] == "image" else p["image_url"]["url"].partition(",")[2] for p in content[:-1]
    ]
    return text, [np.asarray(Image.open(io.BytesIO(base64.b64decode(part)))) for part in data]


def sees(server: StandIn, choose: Callable[[np.ndarray, np.ndarray], str]) -> None:
    """Let the server name every sheet alike, and answer about pairs by what is in the pictures."""

    def reply(path: str, headers: dict[str, str], body: dict[str, Any]) -> Any:
        _, pictures = sent(body)
        answer = GOOD if len(pictures) == 1 else json.dumps({"more": choose(*pictures)})
        server.replies.insert(0, answer)
        return StandIn.reply(server, path, headers, body)

    server.reply = reply


def brighter(first: np.ndarray, second: np.ndarray) -> str:
    return "first" if first.mean() > second.mean() else "second"


# ---- one slider


def test_one_who_sees_what_is_named_tells_every_pair(server: StandIn, labeller: Labeller) -> None:
    sees(server, brighter)
    assert labeller.blind("brighter", PAIRS, seed=0) == Checks(right=1.0, answers=8)
    texts, pictures = zip(*(sent(seen["body"]) for seen in server.seen), strict=True)
    assert all("brighter" in text and "low" not in text and "high" not in text for text in texts), "only the name"
    places = [brighter(*pair) for pair in pictures]
    assert places.count("first") == 4, "every pair in both orders"
    assert all(places[i] != places[i + 1] for i in range(0, 8, 2))


@pytest.mark.parametrize(
    ("choose", "right"),
    [(lambda a, b: "first", 0.5), (lambda a, b: brighter(b, a), 0.0)],
    ids=["always first", "turned"],
)
def test_one_who_does_not_see_it_fails(server: StandIn, labeller: Labeller, choose: Any, right: float) -> None:
    sees(server, choose)
    checks = labeller.blind("brighter", PAIRS, seed=0)
    assert checks.right == right and not passes(checks)


def test_the_orders_are_drawn_from_the_seed() -> None:
    drawn = [[orders(seed, i)[0] for i in range(20)] for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2] and 4 < sum(drawn[0]) < 16


def test_what_passes() -> None:
    assert passes(Checks(right=7 / 8, answers=8)) and passes(Checks(right=1.0, agreement=0.7))
    for checks in (Checks(), Checks(right=6 / 8), Checks(right=1.0, agreement=0.3), Checks(agreement=1.0)):
        assert not passes(checks)


@BOTH
def test_a_good_answer_becomes_a_label(server: StandIn, provider: str) -> None:
    url = f"{server.url}/v1"
    asks = Labeller(open_chat(provider, "m", base_url=url), f"{provider}:m")
    server.replies = [f"<think>{{hm}}</think>Here:\n```json\n{GOOD}\n```"]
    label = asks.named(np.zeros((50, 90, 3), np.uint8))
    assert label.proposed == "brighter sky" and label.by == f"{provider}:m" and label.confidence == 0.8
    assert (label.low, label.high, label.passed) == ("dark", "bright", False), "untested"
    [(text, [picture])] = [sent(seen["body"]) for seen in server.seen]
    assert picture.shape == (50, 90, 3) and "five plain words" in text


MALFORMED = [
    "I see horns.", "{", "[]", '{"name": 7}', '{"name": ""}', '{"sentence": "x"}', '{"name": "one two three four five six"}',
    '{"name": "x", "confidence": 7}', '{"name": "x", "confidence": NaN}', '{"a":' * 50_000,
]  # fmt: skip


@pytest.mark.parametrize("text", MALFORMED, ids=range(len(MALFORMED)))
def test_a_malformed_answer_is_asked_for_once_more(server: StandIn, labeller: Labeller, text: str) -> None:
    server.replies = [text, GOOD]
    assert labeller.named(DARK).proposed == "brighter sky"
    first, second = (sent(seen["body"])[0] for seen in server.seen)
    assert second.startswith(first) and "could not be read" in second and len(second) < len(first) + 400


def test_two_malformed_answers_leave_the_slider_without_a_name(server: StandIn, labeller: Labeller) -> None:
    server.replies = ["{", "no", '{"unclear": true}']
    label = labeller.named(DARK)
    assert label.proposed is None and "could not be read" in label.sentence
    assert not labeller.answers and "unclear" in labeller.named(DARK).sentence


def test_hostile_answers_become_one_short_line(server: StandIn, labeller: Labeller) -> None:
    server.replies = [json.dumps({"name": "<script>\x1b[2J\u202e" + "x" * 10_000, "sentence": "a\n" * 9_000})]
    label = labeller.named(DARK)
    assert label.proposed and len(label.proposed) == 60 and len(label.sentence) <= 300
    assert not {"\x1b", "\u202e", "\n"} & set(label.proposed + label.sentence)


def test_what_is_no_answer_says_why() -> None:
    assert read("", Named) == "there is no JSON object in it"
    assert "name" in str(read('{"name": []}', Named))


@BOTH
def test_slow_and_failing_servers_are_errors_of_two_lines(server: StandIn, provider: str) -> None:
    asks = Labeller(open_chat(provider, "m", base_url=f"{server.url}/v1", timeout=0.3), "x")
    for replies, why in ((["slow"], "no answer for 0.3 s"), ([(500, {"error": "down"})] * 3, "refused .500.: down")):
        server.replies = list(replies)
        with pytest.raises(SliderSpaceError, match=why) as caught:
            asks.named(DARK)
        assert len(str(caught.value).splitlines()) <= 2


# ---- a whole space


def test_a_space_is_named_tested_and_not_asked_again(
    server: StandIn, space: SliderSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    sees(server, brighter)
    pairs = iter([PAIRS, PAIRS[:, ::-1], PAIRS])
    monkeypatch.setattr(SliderSpace, "sweep", lambda self, k, seeds, scales: next(pairs))
    monkeypatch.setattr(Agreement, "of", lambda self, k, label: None)
    run = RunFolder(space.folder)
    rename(run, {2: "mine"})
    steps = list(name_sliders(space, "openai:m", base_url=server.url))
    assert [done for done, _ in steps] == [0, 1, 2, 3] and len(server.seen) == 3 * (1 + 8)
    first, second, third = labels_of(run).sliders
    assert first.shown == "brighter sky" and first.checks == Checks(right=1.0, answers=8)
    assert second.shown == "(brighter sky)" and second.checks.right == 0.0, "it goes the other way"
    assert third.name == "mine" and third.proposed == "brighter sky"

    pairs = iter([PAIRS, PAIRS[:, ::-1], PAIRS])
    list(name_sliders(space, "openai:m", base_url=server.url))
    assert len(server.seen) == 27, "all was answered before"
    pairs = iter([PAIRS] * 3)
    list(name_sliders(space, "openai:m", base_url=server.url, again=True))
    assert len(server.seen) == 54 and labels_of(run).sliders[1].sure


def test_a_failure_keeps_what_was_answered_before_it(server: StandIn, space: SliderSpace) -> None:
    server.replies = [GOOD, *['{"more": "first"}'] * 8, (401, {"error": "no"})]
    with pytest.raises(SliderSpaceError, match="refused"):
        list(name_sliders(space, "openai:m", base_url=server.url))
    found = labels_of(RunFolder(space.folder))
    assert [label.shown for label in found.sliders] == ["(brighter sky)", None, None] and len(found.answers) == 9
    assert found.sliders[0].checks.agreement is not None, "the space's own CLIP reads words"
    server.replies = ['{"unclear": true}'] * 2
    list(name_sliders(space, "openai:m", base_url=server.url))
    assert len(server.seen) == 12, "the first slider was not asked about again"


def test_a_name_of_the_pictures_own_direction_agrees(space: SliderSpace) -> None:
    """In a CLIP of random weights: a slider's change is put in the place of what a name's text says."""
    pictures = pictures_of(space)
    judge = Agreement(space, pictures, ("red", "green", "blue"))
    clip, moves = judge._clip or pytest.fail("no CLIP")
    own_D = moves.change_KSD.mean(1)[1]
    said = {"with it": own_D, "without it": -own_D}
    clip.texts_about = lambda phrases: np.stack([said.get(p, 0 * own_D) for p in phrases])
    assert (judge.of(1, Label(proposed="with it")) or 0) > 0.95
    assert (judge.of(1, Label(proposed="x", low="with it", high="without it")) or 0) < 0.05
    assert judge.of(1, Label()) is None


def test_a_sheet_shows_low_without_and_high_of_each_seed(space: SliderSpace) -> None:
    pictures = pictures_of(space)
    made = sheet(pictures, 1, rows=3)
    side = 32 * 7
    assert made.shape[1] == 3 * (side + 2) - 2 and made.shape[0] > 3 * side
    shown = made[-side:, :side][3::7, 3::7]
    assert np.array_equal(shown, pictures.sliders[1, 2, 0]), "the last row begins with its low end, enlarged whole"


def test_the_verb_asks_the_named_service(server: StandIn, folder: Path) -> None:
    server.replies = ['{"unclear": true}'] * 3
    arguments = ["label", folder, "--by", "openai:m", "--base-url", server.url, "--device", "cpu", "--json"]
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    assert done.exit_code == 0, done.output
    assert [label["shown"] for label in json.loads(done.stdout)["sliders"]] == [None] * 3
    server.replies = [(403, {"error": "no"})]
    done = CliRunner().invoke(app, [str(a) for a in [*arguments, "--again"]])
    assert done.exit_code == 1 and "refused" in done.stderr and "Traceback" not in done.stderr


def test_without_a_key_nobody_is_asked(space: SliderSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(BadInput, match="OPENAI_API_KEY"):
        list(name_sliders(space, "openai:m"))
