"""The paper's experiments end to end on toy models of the real classes, going on where one stopped, and the plan of a
run."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.runs import measured_least
from support.tiny import Tiny, save_preprocessor, save_tokenizer
from support.tiny_flow import save_flux
from support.tiny_unet import save_sdxl
from typer.testing import CliRunner

from sliderspace.cli import app
from sliderspace.core.errors import BadInput
from sliderspace.core.recipes import CONCEPT_RECIPES
from sliderspace.core.seeds import seed_for
from sliderspace.core.settings import Speed
from sliderspace.experiments.paper import answer, data, transfer, worlds
from sliderspace.experiments.paper.catalogue import EXPERIMENTS, experiment
from sliderspace.experiments.paper.experiment import Asked
from sliderspace.experiments.paper.pictures import Pictures, Shared, layout
from sliderspace.experiments.paper.run import dealt, file_of, run
from sliderspace.experiments.paper.worlds import ANYTHING, CREATURES, WORLDS, World
from sliderspace.method.strengths import sparse_mix
from sliderspace.models.backbones import PRESETS
from sliderspace.models.load import load_backbone

ROBOT = "a robot"
SMALL = World(
    concepts={ROBOT: ("a red robot", "a blue robot")},
    art=ROBOT,
    styles=("a robot, ink", "a robot, oil", "a robot, neon"),
    listed=("a robot, ink", "a robot, wax"),
    about=("ink", "wax"),
    sources={ROBOT: ("a dog",)},
    generic=(ROBOT,),
    captions=("a red dog", "a blue cat"),
    pictures=12,
    samples=16,
    sliders=3,
    art_sliders=(3,),
    transfer_seeds=4,
    expanded=(ROBOT, "a red robot"),
)
TYPED = ("--precision=float32", "--device=cpu", "--steps=3", "--guidance=1", "--updates=4", "--seeds=1")


@pytest.fixture(scope="module", autouse=True)
def few_pictures() -> Iterator[None]:
    """Discoveries that measure themselves on as little as they may, and Concept Sliders of few updates."""
    with pytest.MonkeyPatch.context() as patch:
        measured_least(patch)
        patch.setitem(CONCEPT_RECIPES["default"], "updates", 4)
        yield


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP with both towers and the words to read."""
    from transformers import CLIPConfig, CLIPModel

    folder = tmp_path_factory.mktemp("clip") / "clip"
    words = save_tokenizer(folder)
    words.save_pretrained(folder)
    shared = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    shared |= {"projection_dim": 24}
    ids = {"bos_token_id": words.bos_token_id, "eos_token_id": words.eos_token_id, "pad_token_id": words.pad_token_id}
    config = CLIPConfig(
        text_config={**shared, **ids, "vocab_size": len(words), "max_position_embeddings": 24},
        vision_config={**shared, "image_size": 32, "patch_size": 8},
        projection_dim=24,
    )
    torch.manual_seed(3)
    CLIPModel(config).save_pretrained(folder)
    save_preprocessor(folder, "CLIPImageProcessor", size={"shortest_edge": 32}, crop=32)
    return folder


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A tiny SDXL, and the preset `sdxl` with another tiny one in its place: its teacher, of as many steps."""
    root = tmp_path_factory.mktemp("models")
    torch.manual_seed(7)
    found = tuple(save_sdxl(root / name, prediction_type="v_prediction") for name in ("student", "teacher"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(WORLDS, str(found[0]), SMALL)
        tiny = {"location": str(found[1]), "revision": "", "resolution": 0, "steps": 3, "guidance": 1.0, "decoder": ""}
        patch.setitem(PRESETS, "sdxl", dataclasses.replace(PRESETS["sdxl"], variant="", **tiny))
        yield found[0], "sdxl"


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all experiments, so that they share discoveries and pictures."""
    return tmp_path_factory.mktemp("experiments") / "paper"


@pytest.fixture(scope="module")
def words(pair: tuple[Path, str], clip: Path, tiny: Tiny, out: Path) -> list[str]:
    """The options of every command here."""
    return ["--backbone", str(pair[0]), "--encoder", str(clip), "--judge", str(tiny.dino), "--out", str(out), *TYPED]


def call(*typed: object) -> str:
    result = CliRunner().invoke(app, ["experiment", *map(str, typed)])
    assert result.exit_code == 0, f"{result.output}\n{result.exception!r}"
    return result.stdout


def results(out: Path, name: str) -> dict[str, Any]:
    return json.loads((out / name / "results.json").read_text())


def times(out: Path, *folders: str) -> dict[str, int]:
    found = [p for folder in folders for p in sorted((out / folder).rglob("*")) if p.is_file() and p.suffix != ".lock"]
    return {str(p): p.stat().st_mtime_ns for p in found}


def check_pages(out: Path, name: str) -> None:
    """The table, the charts and the page say what results.json says, and none of them where on this machine it is."""
    folder = out / name
    page, table = (folder / "index.html").read_text(), (folder / "results.md").read_text()
    assert str(out.parent.parent) not in page + table + (folder / "results.json").read_text()
    mean = results(out, name)["mean"]
    for arms in mean.values():
        for arm, row in arms.items():
            assert f"| {arm} |" in table and all(np.isfinite(i["value"]) for i in row.values())
    assert (
        page.count("data:image/png") >= 8
        and "<script" not in page
        and "http://" not in page.replace("http://www.w3.org", "")
    )
    assert all(path.read_text().startswith("<svg xmlns") for path in folder.glob("*.svg")) and list(
        folder.glob("*.svg")
    )


def test_concepts(out: Path, words: list[str]) -> None:
    call("concepts", *words)
    arms = results(out, "concepts")["mean"][ROBOT]
    assert list(arms) == ["the model", "list of prompts", "3 of 3 sliders"]
    assert all({"pairwise distance", "Vendi score", "CLIP-score"} == set(row) for row in arms.values())
    check_pages(out, "concepts")


def test_it_goes_on_where_it_stopped(out: Path, words: list[str], pair: tuple[Path, str], clip: Path) -> None:
    """What is there is not touched; a cell that is missing is measured from the pictures that are there."""
    call("concepts", *words)
    before = times(out, "cells", "pictures", "runs")
    call("concepts", *words)
    assert times(out, "cells", "pictures", "runs") == before
    lost = sorted((out / "cells").glob("*.json"))[0]
    told = lost.read_bytes()
    lost.unlink()
    call("concepts", *words)
    changed = {p for p, t in times(out, "cells", "pictures", "runs").items() if before.get(p) != t}
    assert changed == {str(lost)} and lost.read_bytes() == told


def test_art(out: Path, words: list[str]) -> None:
    call("art", *words)
    arms = results(out, "art")["mean"][""]
    assert list(arms) == [
        "generic prompt", "list of prompts", "2 Concept Sliders", "3 sliders", "3 sliders of many prompts",
        "3 random directions", "3 customised sliders", "the named styles again",
    ]  # fmt: skip
    assert len({row["Fréchet distance"]["value"] for row in arms.values()}) == len(arms), "every arm draws its own"
    assert {"Fréchet distance", "recall", "coverage", "CLIP-score"} < set(arms["generic prompt"])
    assert min(row["Fréchet distance"]["value"] for row in arms.values()) > 0
    check_pages(out, "art")


@pytest.mark.slow
def test_data(out: Path, words: list[str], pair: tuple[Path, str]) -> None:
    """The teacher's pictures are drawn once, with their prompts beside them, and are what is discovered in."""
    call("data", *words, "--teacher", pair[1])
    arms = results(out, "data")["mean"][ROBOT]
    assert list(arms) == [
        "the model", "one prompt", "teacher's pictures, one prompt", "3 prompts", "teacher's pictures, 3 prompts",
        "random directions",
    ]  # fmt: skip
    assert "effective rank" not in arms["the model"]
    ranks = {arm: row["effective rank"]["value"] for arm, row in arms.items() if "effective rank" in row}
    assert len(set(ranks.values())) == 5 and all(1 <= rank <= 3 for rank in ranks.values())
    folders = sorted((out / "taught").glob("*/data.json"))
    captions = {frozenset(p.read_text() for p in folder.parent.glob("*.txt")) for folder in folders}
    assert captions == {frozenset({ROBOT}), frozenset({ROBOT, "a red robot", "a blue robot"})}
    assert all(len(list(f.parent.glob("*.png"))) == 8 + 8 for f in folders), "held-out trajectories show their own"
    before = times(out, "taught", "cells")
    call("data", *words, "--teacher", pair[1])
    assert times(out, "taught", "cells") == before
    check_pages(out, "data")


def test_the_teachers_pictures_are_the_teachers(out: Path, words: list[str], pair: tuple[Path, str]) -> None:
    from PIL import Image

    from sliderspace.experiments.paper.pictures import TAUGHT, data_of
    from sliderspace.method.denoise import render

    asked = Asked(str(pair[0]), SMALL, teacher=pair[1], common={"precision": "float32"})
    settings = asked.space(ROBOT, seed=0, samples=8, sliders=2, images=TAUGHT)
    shared = Shared(out.parent / "by_teacher", Speed(device="cpu"), "", "", asked.teacher)
    folder = Path(shared.run(settings).settings.images)
    first = np.asarray(Image.open(folder / "000000.png")).astype(float) / 255
    for name, alike in ((pair[1], True), (str(pair[0]), False)):
        backbone = load_backbone(name, device="cpu", precision="float32", decoder="full")
        seeds = [seed_for(0, data_of(settings, pair[1]).noise, 0)]
        image = next(iter(render(backbone, None, backbone.encode([ROBOT]), seeds, [0])))[0].clamp(0, 1)
        assert (np.abs(image.permute(1, 2, 0).numpy() - first).max() < 0.01) == alike


def test_transfer(out: Path, words: list[str], pair: tuple[Path, str]) -> None:
    call("transfer", *words, "--teacher", pair[1])
    arms = results(out, "transfer")["mean"][f"sliders of “{ROBOT}”"]
    assert list(arms) == ["on itself", "on “a dog”", "the teacher's, on the model", "the model's, on the teacher"]
    assert arms["on itself"]["alignment kept %"]["value"] == pytest.approx(100)
    check_pages(out, "transfer")


def test_start(out: Path, words: list[str]) -> None:
    call("start", *words)
    arms = results(out, "start")["mean"][ROBOT]
    spans = ["all steps", "from step 1", "from step 2", "before step 1", "before step 2"]
    assert list(arms) == [*spans, "another seed's picture"]
    kept = {arm: row["structure kept"]["value"] for arm, row in arms.items()}
    assert kept["all steps"] < kept["from step 1"] < kept["from step 2"] <= 1
    assert kept["another seed's picture"] < min(kept[arm] for arm in spans), "or nothing is measured"
    assert "effect" not in arms["another seed's picture"]
    check_pages(out, "start")


def test_diversity(out: Path, words: list[str], pair: tuple[Path, str]) -> None:
    call("diversity", *words, "--teacher", pair[1])
    arms = results(out, "diversity")["mean"][""]
    assert list(arms) == [
        "the teacher", "the model", "the model, 3 of 3 sliders", "the teacher's first step", "first step skipped"
    ]  # fmt: skip
    far = {arm: row["Fréchet distance"]["value"] for arm, row in arms.items()}
    assert len(set(far.values())) == len(far), "every arm draws pictures of its own"
    assert far["the teacher"] < far["the model"], "the reference is the teacher's"
    check_pages(out, "diversity")


def test_concepts_on_flux(tmp_path: Path, clip: Path, tiny: Tiny) -> None:
    save_flux(tmp_path / "flux", dev=False)
    asked = Asked(
        str(tmp_path / "flux"),
        dataclasses.replace(SMALL, pictures=8),
        seeds=1,
        judge=str(tiny.dino),
        common={"encoder": str(clip), "precision": "float32", "steps": 2, "updates": 2, "guidance": 0.0},
    )
    shared = Shared(tmp_path / "out", Speed(device="cpu"), asked.judge_at, asked.encoder_location)
    list(run(EXPERIMENTS["concepts"], asked, shared))
    told = [json.loads(path.read_text())["row"] for path in (tmp_path / "out" / "cells").iterdir()]
    assert len(told) == 3 and len({row["Vendi score"] for row in told}) == 3


# ---- parts


def of_mini(**changed: Any) -> Asked:
    return Asked("mini", dataclasses.replace(CREATURES, **changed), teacher="mini")


@pytest.mark.parametrize("name", EXPERIMENTS)
@pytest.mark.parametrize("backbone", ["mini-turbo", "sdxl-dmd2", "flux-schnell"])
def test_cells_are_data_that_each_differ(name: str, backbone: str) -> None:
    asked = Asked(backbone, worlds.world_of(backbone), seeds=2, teacher=PRESETS[backbone].teacher or "sdxl")
    cells = experiment(name).cells(asked)
    assert len({(c.about, c.arm, c.seed) for c in cells}) == len(cells)
    assert {c.seed for c in cells} == {0, 1} and all("own" in c.sets for c in cells)
    for cell in cells:
        counts = {p.count for part, p in cell.sets.items() if not part.startswith(data.EACH)}
        assert len(counts) == 1, "distances are between sets of equal size"


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_no_mix_has_more_sliders_than_there_are(name: str) -> None:
    asked = of_mini(sliders=2, art_sliders=(2,))
    sets = [p for cell in experiment(name).cells(asked) for p in cell.sets.values() if p.space and p.sliders == "mix"]
    assert all(p.active <= p.space.sliders for p in sets if p.space)


def test_shares_are_the_whole_and_split_no_discovery() -> None:
    cells = EXPERIMENTS["art"].cells(of_mini())
    parts = [dealt(cells, (i, 3)) for i in range(3)]
    assert sorted(cells.index(cell) for part in parts for cell in part) == list(range(len(cells)))
    owners = [{s for c in part for s in c.spaces} for part in parts]
    assert not owners[0] & owners[1] and not owners[1] & owners[2] and not owners[0] & owners[2]


def test_sliders_of_words_go_toward_their_styles_only() -> None:
    drawn = [cell.sets["own"] for cell in EXPERIMENTS["art"].cells(of_mini())]
    one_way = [p for p in drawn if p.space and (p.space.pairs or p.space.objective == "customised")]
    assert one_way and all(p.both_signs == (p not in one_way) for p in drawn)
    both, plus = (sparse_mix(range(20), 8, both_signs=signs) for signs in (True, False))
    assert (both < 0).any() and torch.equal(plus, both.abs())


def test_the_words_of_the_small_world_are_known_to_its_model() -> None:
    prompts = [
        *CREATURES.concepts,
        *CREATURES.styles,
        *CREATURES.listed,
        *CREATURES.captions,
        *CREATURES.generic,
        *CREATURES.expanded,
    ]
    prompts += [p for listed in (*CREATURES.concepts.values(), *CREATURES.sources.values()) for p in listed]
    prompts += [
        p for pair in EXPERIMENTS["art"].cells(of_mini())[2].spaces[0].pairs for p in pair.prompts(CREATURES.art)
    ]
    assert {w for p in prompts for w in PRESETS["mini"].unknown_words(p)} == set()


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_dry_run_says_hours_and_disk_and_leaves_nothing(name: str, tmp_path: Path) -> None:
    artists = tmp_path / "artists.txt"
    artists.write_text("Ada\nBela\n")
    about = ["--backbone", "sdxl-dmd2", "--teacher", "sdxl", "--artists", artists, "--out", tmp_path / "out"]
    said = call(name, *about, "--seeds", 1, "--dry-run")
    assert "disk: " in said and " h on " in said and not (tmp_path / "out").exists()
    one, two = (json.loads(call(name, *about, "--seeds", n, "--dry-run", "--json")) for n in (1, 2))
    assert 0 < one["hours"] < two["hours"] and 0 < one["disk_gb"] < two["disk_gb"]
    assert two["cells"] == 2 * one["cells"] and one["pictures"] > 1000


def test_a_distilled_preset_knows_its_teacher(tmp_path: Path) -> None:
    arms = json.loads(call("diversity", "--dry-run", "--json", "--out", tmp_path / "out"))["arms"]
    assert arms[0] == "the teacher"
    assert {n: p.teacher for n, p in PRESETS.items() if p.teacher and n != "mini-turbo"} == {
        **dict.fromkeys(("sdxl-dmd2", "sdxl-turbo", "sdxl-lightning", "sdxl-lcm"), "sdxl"),
        "z-image-turbo": "z-image",
        "krea2-turbo": "krea2",
        "flux2-klein": "flux2-klein-base",
        "flux2-klein-9b": "flux2-klein-base-9b",
    }
    assert {p.teacher for p in PRESETS.values()} <= {"", *PRESETS}
    for experiment_ in EXPERIMENTS.values():
        teacher = PRESETS[experiment_.backbone].teacher
        asked = Asked(experiment_.backbone, CREATURES, teacher=teacher)
        assert bool(teacher) == (experiment_.name != "start") and experiment_.cells(asked)


def test_artists_become_the_reference(tmp_path: Path) -> None:
    from sliderspace.cli.experiments import _asked

    (tmp_path / "a.txt").write_text("Ada\nBela\n")
    files = {"artists": tmp_path / "a.txt", "prompts": None, "captions": None}
    asked = _asked("sdxl", None, 1, None, None, files, 100, "4,8", {})
    reference = EXPERIMENTS["art"].cells(asked)[0].sets["reference"]
    assert reference.model.prompts == ("artwork in the style of Ada", "artwork in the style of Bela")
    assert asked.world.art_sliders == (4, 8) and reference.count == 100


def test_without_artists_of_ones_own_the_reference_is_not_the_list_that_it_is_compared_with() -> None:
    asked = Asked("sdxl-dmd2", ANYTHING)
    cells = {cell.arm: cell for cell in EXPERIMENTS["art"].cells(asked)}
    listed, named = cells["list of prompts"].sets["own"], cells["generic prompt"].sets["reference"]
    assert not set(listed.model.prompts) & set(named.model.prompts)
    assert len(set(named.model.prompts)) >= 64


def test_who_trained_the_sliders_does_not_judge_them_unasked() -> None:
    judges = [Asked("sdxl", ANYTHING, common={"encoder": at} if at else {}).judge_at for at in ("", "dinov2")]
    assert judges == ["dinov2", "siglip"]
    with pytest.raises(BadInput, match="another encoder"):
        Asked("sdxl", ANYTHING, judge="dinov2", common={"encoder": "dinov2"})


def test_of_a_folder_with_more_than_enough_the_reference_is_drawn_by_lot(
    out: Path, pair: tuple[Path, str], tiny: Tiny, clip: Path
) -> None:
    from PIL import Image

    folder = out.parent / "sorted"
    folder.mkdir()
    for n in range(24):
        Image.new("RGB", (40, 40), "black" if n < 12 else "white").save(folder / f"{n:02d}.png")
    asked = Asked(str(pair[0]), SMALL, judge=str(tiny.dino), common={"encoder": str(clip), "precision": "float32"})
    shared = Shared(out, Speed(device="cpu"), asked.judge_at, asked.encoder_location)
    light = [
        shared.seen(Pictures(asked.model(ROBOT), 8, seed, folder=str(folder)))["images"].float().mean((1, 2, 3))
        for seed in (0, 1)
    ]
    assert all(0 < (each > 128).sum() < 8 for each in light) and not torch.equal(*light)


def test_a_folder_can_be_the_reference(
    out: Path, words: list[str], pair: tuple[Path, str], tiny: Tiny, clip: Path
) -> None:
    from PIL import Image

    folder = out.parent / "own"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for n in range(5):
        Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(folder / f"{n}.png")
    asked = Asked(str(pair[0]), SMALL, judge=str(tiny.dino), common={"encoder": str(clip), "precision": "float32"})
    shared = Shared(out, Speed(device="cpu"), asked.judge_at, asked.encoder_location)
    seen = shared.seen(Pictures(asked.model(ROBOT), 4, 0, folder=str(folder)))
    assert len(seen["judge"]) == 4
    with pytest.raises(BadInput, match="at least 6"):
        shared.seen(Pictures(asked.model(ROBOT), 6, 0, folder=str(folder)))


def test_diversity_needs_a_teacher_and_names_are_checked() -> None:
    with pytest.raises(BadInput, match="--teacher"):
        EXPERIMENTS["diversity"].cells(Asked("mini", CREATURES))
    with pytest.raises(BadInput, match="choose among concepts"):
        experiment("paintings")


def test_another_judge_or_prompt_is_another_cell(tmp_path: Path) -> None:
    cells = EXPERIMENTS["concepts"].cells(of_mini())
    prints = set()
    for judge in ("asset:mini/judge", "asset:forms"):
        shared = Shared(tmp_path, Speed(device="cpu"), judge, "asset:mini/clip")
        prints |= {file_of(EXPERIMENTS["concepts"], cell, shared)[1] for cell in cells[:3]}
    assert len(prints) == 6


def test_layout_is_a_correlation_of_light_and_dark() -> None:
    images = torch.rand(3, 3, 32, 32)
    z = layout(torch.cat([images, 0.5 * images + 0.2, 1 - images]))
    own = z[:3]
    torch.testing.assert_close((own * z[3:6]).sum(1), torch.ones(3).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close((own * z[6:]).sum(1), -torch.ones(3).double(), atol=1e-5, rtol=0)


# ---- transfer, by hand


def made_up(kept: float, effect: float) -> dict[str, Any]:
    """Two sliders on six seeds: slider k moves the judge along axis k and a factor by `effect`; of both `kept` is left
    where they are drawn."""
    random = torch.Generator().manual_seed(0)

    def part(name: str, size: float, turned: float) -> dict[str, Any]:
        base = torch.randn(6, 4, generator=random).double()
        own, p_base = [], torch.full((6, 2), 0.5).double()
        chances = []
        for k in range(2):
            axis = (1 - turned) * torch.eye(4)[k] + turned * torch.eye(4)[k + 2]
            own += [base + axis, base - axis]
            change = size * torch.tensor([1.0, -1.0]) * (1 if k == 0 else 0)
            chances += [p_base + change / 2, p_base - change / 2]
        return {
            f"{name}base": {"judge": base, "factor/hat": p_base},
            f"{name}own": {"judge": torch.cat(own), "factor/hat": torch.cat(chances)},
        }

    return {**part("reference ", effect, 0), **part("at home ", effect, 0), **part("", kept * effect, 1 - kept)}


def test_transfer_counts_what_is_kept() -> None:
    cell = EXPERIMENTS["transfer"].cells(of_mini())[0]
    whole = transfer.measure(cell, made_up(1.0, 0.4), None)  # type: ignore[arg-type]
    half = transfer.measure(cell, made_up(0.5, 0.4), None)  # type: ignore[arg-type]
    none = transfer.measure(cell, made_up(0.0, 0.4), None)  # type: ignore[arg-type]
    assert whole["alignment kept %"] == pytest.approx(100) and whole["factor effect kept %"] == pytest.approx(100)
    assert half["alignment kept %"] == pytest.approx(100 / 2**0.5) and half["factor effect kept %"] == pytest.approx(50)
    assert none["alignment kept %"] == pytest.approx(0, abs=1e-9) and none["factor effect kept %"] == pytest.approx(0)


def test_means_have_intervals_over_run_seeds() -> None:
    from sliderspace.measure.intervals import over_runs

    mean, low, high = over_runs([1.0, 2.0, 3.0])
    assert (mean, high - mean) == (2.0, pytest.approx(4.303 / 3**0.5)) and mean - low == pytest.approx(high - mean)
    assert np.isnan(over_runs([1.0])[1])
    assert answer.said(None) == "–"
