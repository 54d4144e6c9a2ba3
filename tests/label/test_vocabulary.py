"""Names by a CLIP's words: planted changes get their names, random ones get none."""

from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from sliderspace.cli import app
from sliderspace.core.errors import BadInput
from sliderspace.core.settings import Settings
from sliderspace.label import directions
from sliderspace.label.clip import Clip, clip_for
from sliderspace.label.directions import Moves, cosines, slopes
from sliderspace.label.naming import name_sliders
from sliderspace.label.pictures import Pictures, pictures_of
from sliderspace.label.vocabulary import known_words, labels_by_words, read_words
from sliderspace.models.encoders.words import load_text_tower, reads_words
from sliderspace.space.labels import Label, labels_of, rename
from sliderspace.space.space import SliderSpace
from sliderspace.storage.images import to_uint8
from sliderspace.storage.run_folder import RunFolder

WORDS = tuple(f"word {i}" for i in range(40))
D, S, N = 24, 6, 32


class Texts:
    """Stands where a CLIP's text tower does: a random vector for each phrase."""

    settings = Settings(prompts=("a robot",), backbone="sdxl")

    def __init__(self) -> None:
        rows_WD = np.random.default_rng(1).normal(size=(len(WORDS), D))
        self.of = dict(zip(WORDS, rows_WD / np.linalg.norm(rows_WD, axis=1, keepdims=True), strict=True))

    def texts_about(self, phrases: tuple[str, ...]) -> np.ndarray:
        return np.stack([self.of[phrase] for phrase in phrases])


def moves(means_KD: np.ndarray, noise: float = 0.3) -> Moves:
    """Changes about these means, and pictures of no structure."""
    rng = np.random.default_rng(2)
    change_KSD = means_KD[:, None] + noise * rng.normal(size=(len(means_KD), S, D)) / D**0.5
    return Moves(change_KSD, rng.normal(size=(N, D)), seed=0)


def test_both_ends_of_a_planted_change_are_named() -> None:
    texts = Texts()
    first = texts.of["word 3"] - texts.of["word 7"]
    both, one = labels_by_words(texts, moves(np.stack([first, texts.of["word 5"]])), WORDS)
    assert both.proposed == "word 7 ↔ word 3" and both.passed and both.confidence > 0.95
    assert (both.low, both.high, both.by) == ("word 7", "word 3", "vocabulary")
    assert one.proposed == "word 5" and one.passed, "its other end has no name"
    assert one.sentence == "Toward plus more of “word 5”." and "minus more of “word 7”" in both.sentence
    turned = labels_by_words(texts, moves(-texts.of["word 5"][None]), WORDS)[0]
    assert turned.proposed == "word 5 ↔ …" and turned.low == "word 5"


def test_random_directions_get_no_sure_name() -> None:
    """However steadily they move the pictures: that is no sign that a word fits."""
    rng = np.random.default_rng(3)
    labels = labels_by_words(Texts(), moves(rng.normal(size=(400, D)), noise=0.1), WORDS)
    assert sum(label.passed for label in labels) <= 2
    assert all(label.proposed and label.proposed.count("↔") == 1 for label in labels if not label.passed)


def test_unsteady_changes_get_no_sure_name() -> None:
    rng = np.random.default_rng(4)
    labels = labels_by_words(Texts(), Moves(rng.normal(size=(100, S, D)), rng.normal(size=(N, D)), 0), WORDS)
    assert sum(label.passed for label in labels) <= 12


def test_a_cosine_with_nothing_is_none() -> None:
    assert cosines(np.zeros((1, 4)), np.ones((2, 4))).tolist() == [[0.0, 0.0]], "nothing moves toward nothing"


def test_a_slope_is_the_change_of_one_unit() -> None:
    strengths_M = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    d_SD = np.random.default_rng(6).normal(size=(3, 4))
    z_SMD = 0.7 + strengths_M[None, :, None] * d_SD[:, None]
    np.testing.assert_allclose(slopes(z_SMD, strengths_M), d_SD, atol=1e-12)


def test_the_random_directions_are_the_same_each_time() -> None:
    texts_WD = np.random.default_rng(7).normal(size=(5, D))
    one, two = (moves(np.ones((1, D))).chance(texts_WD) for _ in range(2))
    assert one.shape == (directions.DRAWS, 5) and np.array_equal(one, two)


# ---- the words


def test_a_vocabulary_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("# colours\nred # and more\n\n red\n<b>blue</b>\nhorns \x1b[2J\n", encoding="utf-8")
    assert read_words(path) == ("red", "<b>blue</b>", "horns [2J")
    path.write_text("horns\nwings\ntail\n", encoding="utf-8-sig")  # as Windows' Notepad may write it
    assert read_words(path) == ("horns", "wings", "tail")
    for text, why in (
        (b"", "0 different"),
        (b"a\nb", "2 different"),
        (b"\xff\xfe", "not text"),
        (b"a\n" * 9, "1 diff"),
    ):
        path.write_bytes(text)
        with pytest.raises(BadInput, match=why):
            read_words(path)
    path.write_text("\n".join(map(str, range(6000))))
    with pytest.raises(BadInput, match="3 to 5000"):
        read_words(path)
    with pytest.raises(BadInput, match="cannot read"):
        read_words(tmp_path)


def test_the_words_that_ship_are_short_and_cover_the_built_in_worlds() -> None:
    words = read_words()
    assert 200 < len(words) < 400 and all(len(word.split()) <= 4 for word in words)
    assert {"horns", "three eyes", "antennae", "spots", "stained glass style", "turned left", "arms up"} <= set(words)
    mini = known_words(words, Settings(prompts=("a robot",)))
    assert {"horns", "blue background", "pixel art style"} <= set(mini) and "tentacles" not in mini
    assert known_words(words, Settings(prompts=("a robot",), backbone="sdxl")) == words


# ---- the CLIP


def test_text_and_pictures_of_the_built_in_clip_agree(speaking: Path) -> None:
    """The tower is the one that `transformers` puts beside the image tower."""
    from transformers import AutoTokenizer, CLIPModel

    texts = ["a robot", "a person with red hair", "x" * 400]
    model = CLIPModel.from_pretrained(speaking, use_safetensors=True)
    tokenizer = AutoTokenizer.from_pretrained(speaking)
    tokens = tokenizer(texts, padding="max_length", truncation=True, max_length=24, return_tensors="pt")
    with torch.no_grad():
        pixels = torch.zeros(1, 3, 32, 32)
        due = model(pixel_values=pixels, **tokens).text_embeds.double().numpy()
    found = load_text_tower(str(speaking), torch.device("cpu"))(texts)
    np.testing.assert_allclose(found, due, atol=1e-6)


def test_the_clip_is_the_one_that_trained_the_space_where_it_reads(speaking: Path, tmp_path: Path) -> None:
    assert reads_words("clip") and reads_words("asset:mini/clip") and reads_words(str(speaking))
    assert not any(map(reads_words, ("dinov2", "siglip", "facenet", "asset:forms")))
    asked = Settings(prompts=("a robot",), encoder=str(speaking))
    assert clip_for(asked) == str(speaking)
    assert clip_for(asked.model_copy(update={"encoder": "dinov2"})) == "asset:mini/clip"
    assert clip_for(asked.model_copy(update={"encoder": "local:gone@1"})) == "asset:mini/clip"
    assert clip_for(asked.model_copy(update={"encoder": "dinov2", "backbone": "local:gone@1"})) == "clip"


# ---- a whole space


def test_a_space_is_named_from_its_strips_alone(space: SliderSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SliderSpace, "sweep", None)
    monkeypatch.setattr(SliderSpace, "generate", None)
    run = RunFolder(space.folder)
    rename(run, {1: "mine"})
    steps = list(name_sliders(space))
    assert [done for done, _ in steps] == [0, 3]
    found = labels_of(run).sliders
    assert found[1].name == "mine" and found[1].sure and found[1].proposed
    assert all(label.by == "vocabulary" and label.checks.beaten is not None for label in found)
    before = run.labels.read_bytes()
    list(name_sliders(space))
    assert run.labels.read_bytes() == before, "the same again"


def test_pictures_are_drawn_where_the_strips_are_too_few(space: SliderSpace) -> None:
    stored = pictures_of(space)
    assert stored.sliders.shape == (3, 4, 5, 32, 32, 3) and stored.strengths_M.tolist() == [-2, -1, 0, 1, 2]
    RunFolder(space.folder).strips.unlink()
    drawn = pictures_of(space)
    assert drawn.sliders.shape == stored.sliders.shape and len(drawn.base) == 32
    low, none, _ = drawn.ends
    assert (low, none) == (0, 2) and not np.array_equal(drawn.sliders[0, 0, low], drawn.sliders[0, 0, none])
    assert np.array_equal(drawn.sliders[0, :, none], drawn.sliders[1, :, none]), "without it all are the same"


def test_a_clip_sees_what_its_encoder_sees(space: SliderSpace) -> None:
    clip = Clip(space)
    images = torch.rand(5, 3, 32, 32)
    pictures = Pictures(np.zeros((1, 2, 3, 32, 32, 3), np.uint8), np.array([-1.0, 0, 1]), to_uint8(images).numpy())
    rounded = to_uint8(images).permute(0, 3, 1, 2).float() / 255
    np.testing.assert_allclose(clip.moves(pictures).base_ND, clip.encoder(rounded).numpy(), atol=1e-5)
    told = clip.texts_about(["horns {concept}"])
    lines = ["a robot with horns {concept}", "a robot, horns {concept}"]
    np.testing.assert_allclose(told[0], clip.texts(lines).mean(0), atol=1e-9)


# ---- the command line


def call(*arguments: object) -> object:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_the_verb_names_and_writes_the_report(folder: Path) -> None:
    done = call("label", folder, "--device", "cpu", "--json")
    assert done.exit_code == 0, done.output
    [first, *_] = labels_of(RunFolder(folder)).sliders
    assert first.shown in (folder / "report.html").read_text()
    named = call("label", folder, "--name", "0=<i>horns</i>", "--name", "2=a \u202eb")
    assert named.exit_code == 0 and "<i>horns</i>" in named.stdout and "a ⟨U+202E⟩b" in named.stdout
    page = (folder / "report.html").read_text()
    assert "&lt;i&gt;horns" in page and "<i>horns" not in page
    assert "<i>horns</i>" in call("info", folder).stdout
    assert call("label", folder, "--name", "0=").exit_code == 0
    assert labels_of(RunFolder(folder)).sliders[0].name == first.name


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--by", "cohere:x"], "names nobody"),
        (["--by", "anthropic"], "names nobody"),
        (["--base-url", "http://localhost:1/v1"], "--by openai:MODEL too"),
        (["--name", "horns"], "SLIDER=NAME"),
        (["--name", "9=horns"], "no slider 9"),
        (["--name", "1=horns", "--again"], "asks nobody"),
        (["--words", "nothing.txt"], "cannot read the words"),
    ],
)
def test_what_cannot_be_done_is_refused_in_two_lines(folder: Path, options: list[str], why: str) -> None:
    done = call("label", folder, *options)
    assert done.exit_code == 2 and why in done.stderr and len(done.stderr.strip().splitlines()) <= 2
    assert not RunFolder(folder).labels.exists()


def test_a_report_without_names_has_none(folder: Path) -> None:
    assert "unsure" not in (folder / "report.html").read_text().partition("<body>")[2]
    assert Label().shown is None
