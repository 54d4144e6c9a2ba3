"""A finished small run to play with, the app over it, and a browser where there is one."""

import json
import shutil
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from sliderspace.core.settings import Speed
from sliderspace.explore.app import served
from sliderspace.explore.session import Session


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copytree(finished, tmp_path / "runs" / "robots"))


@pytest.fixture
def session(run: Path) -> Session:
    return Session([run], Speed(device="cpu"))


@pytest.fixture(scope="module")
def app(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[tuple[str, list[Path]]]:
    """An app over two runs, and their folders: the second one's prompt and a name are markup."""
    pytest.importorskip("gradio", reason="the extra `explore` is not installed")
    root = tmp_path_factory.mktemp("runs")
    folders = [Path(shutil.copytree(finished, root / name)) for name in ("robots", "hostile")]
    poison(folders[1])
    with served(Session(folders, Speed(device="cpu"))) as address:
        yield address, folders


MARKUP = '<img src=x onerror="window.hurt=1"><script>window.hurt=1</script>'


def poison(folder: Path) -> None:
    """Let the run say hostile things: its prompt, and the name of a slider."""
    for name in ("space.json", "config.json"):
        stored: dict[str, Any] = json.loads((folder / name).read_text())
        place = stored["settings"] if name == "space.json" else stored
        place["prompts"] = [MARKUP, "a person"]
        (folder / name).write_text(json.dumps(stored))
    space = json.loads((folder / "space.json").read_text())
    stamp = {"format": space["format"], "kind": "labels", "fingerprint": space["made_from"]["sliders"]}
    names = [MARKUP[:60], "'\"><b>x</b>", "${1+1} {{7*7}} \u202eevil"]
    labels = [{"name": name, "sentence": MARKUP} for name in names]
    (folder / "labels.json").write_text(json.dumps({**stamp, "sliders": labels, "answers": {}}))


@pytest.fixture
def tab(app: tuple[str, list[Path]], browser: Any) -> Generator[Callable[..., Any]]:
    """Opens the page in a tab of its own: once its first picture is there, it is returned."""
    contexts: list[Any] = []

    def open_tab(**options: Any) -> Any:
        contexts.append(browser.new_context(**options))
        contexts[-1].set_default_timeout(90_000)  # a busy machine is no failure
        page = contexts[-1].new_page()
        page.goto(app[0])
        page.wait_for_selector(".ss-row .ss-pic[style*=data]")
        return page

    yield open_tab
    for context in contexts:
        context.close()
