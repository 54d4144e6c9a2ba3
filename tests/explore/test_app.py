"""The app as others reach it: addresses, password, files. Needs Gradio and no browser."""

import json
import signal
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Generator
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

import pytest
from support.explored import address_of, served_by_command

from sliderspace.core.errors import BadInput
from sliderspace.explore.app import served
from sliderspace.explore.session import Session

ROOT = Path(__file__).parents[2]


@pytest.fixture
def address(session: Session) -> Generator[str]:
    pytest.importorskip("gradio", reason="the extra `explore` is not installed")
    with served(session) as found:
        yield found


def status(address: str, opener: Any = None) -> int:
    try:
        return (opener.open if opener else urllib.request.urlopen)(address, timeout=120).status
    except urllib.error.HTTPError as error:
        return error.code


def part_of(address: str, get: Any = urllib.request.urlopen) -> int:
    """The number of the page's one component."""
    with get(f"{address}config", timeout=120) as reply:
        (part,) = [part["id"] for part in json.load(reply)["components"] if part["type"] == "html"]
    return part


def ask(address: str, values: dict[str, Any], opener: Any = None, **headers: str) -> Any:
    """An action, asked as the page asks it."""
    get = opener.open if opener else urllib.request.urlopen
    body = {"data": values, "fn_name": "act", "session_hash": "test", "component_id": part_of(address, get)}
    asked = urllib.request.Request(
        f"{address}gradio_api/component_server",
        json.dumps(body).encode(),
        {"Content-Type": "application/json", **headers},
    )
    with get(asked, timeout=120) as reply:
        return json.load(reply)


def test_it_is_served_to_this_machine_only(address: str) -> None:
    assert address.startswith("http://127.0.0.1:")
    assert ask(address, {"action": "open", "run": 0})["prompt"] == "a robot"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", ""])
def test_others_are_let_in_only_with_a_password(session: Session, host: str) -> None:
    with pytest.raises(BadInput, match="--password"), served(session, host=host):
        pass


def test_a_password_guards_every_action(session: Session) -> None:
    pytest.importorskip("gradio", reason="the extra `explore` is not installed")
    with served(session, password="sesame") as address:
        for path in ("config", "gradio_api/info"):
            assert status(address + path) == 401
        with pytest.raises(urllib.error.HTTPError, match="401"):
            ask(address, {"action": "runs"})
        for typed, due in (("wrong", 400), ("", 422), ("sesame", 200)):
            opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
            form = urllib.parse.urlencode({"username": "me", "password": typed}).encode()
            request = urllib.request.Request(f"{address}login", form)
            assert status(request, opener) == due  # type: ignore[arg-type]
        assert ask(address, {"action": "runs"}, opener)["runs"]


def test_no_file_can_be_fetched(address: str, run: Path, tmp_path: Path) -> None:
    """Neither of the machine, nor of the run folder, by any spelling; a link in the run folder leads nowhere."""
    (tmp_path / "secret.txt").write_text("secret")
    (run / "link.txt").symlink_to(tmp_path / "secret.txt")
    places = [
        "/etc/passwd",
        str(ROOT / "pyproject.toml"),
        "pyproject.toml",
        "../../etc/passwd",
        str(run / "config.json"),
    ]
    places += [
        str(run / "link.txt"),
        f"{run}/../../secret.txt",
        "file:///etc/passwd",
        "C:\\Windows\\win.ini",
        "%2e%2e/x",
    ]
    for place in places:
        for route in ("gradio_api/file=", "file=", "static/", "assets/", "gradio_api/file/"):
            found = status(f"{address}{route}{urllib.parse.quote(place)}")
            assert found in (403, 404, 405, 422), (route, place, found)


def test_a_page_of_another_site_cannot_act(address: str, session: Session) -> None:
    """A form of another site can send text, which is refused; JSON would need leave that it does not get."""
    asking = {"data": {"action": "stop"}, "fn_name": "act", "session_hash": "x", "component_id": part_of(address)}
    body = json.dumps(asking).encode()
    foreign = {"Origin": "https://evil.example", "Content-Type": "text/plain"}
    asked = urllib.request.Request(f"{address}gradio_api/component_server", body, foreign)
    acted: list[object] = []
    session.act = lambda asked: acted.append(asked) or {}  # type: ignore[method-assign]
    leave = urllib.request.Request(
        asked.full_url, None, {**foreign, "Access-Control-Request-Method": "POST"}, method="OPTIONS"
    )
    try:
        allowed = urllib.request.urlopen(leave, timeout=120).headers.get("Access-Control-Allow-Origin")
    except urllib.error.HTTPError as error:
        allowed = error.headers.get("Access-Control-Allow-Origin")
    assert allowed not in ("*", "https://evil.example")
    assert status(asked) >= 400  # type: ignore[arg-type]
    assert acted == []
    ask(address, {"action": "stop"})
    assert acted == [{"action": "stop"}]


def test_a_name_that_leads_here_does_not_let_its_pages_in(address: str) -> None:
    asked = urllib.request.Request(f"{address}config", headers={"Host": "rebound.example"})
    assert status(asked) == 400  # type: ignore[arg-type]


def test_a_taken_port_is_a_message(address: str, session: Session) -> None:
    port = urllib.parse.urlsplit(address).port
    with pytest.raises(BadInput, match="--port"), served(session, port=port):
        pass


def test_without_gradio_the_message_says_what_to_install(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(BadInput, match=r"sliderspace\[explore\]"), served(session):
        pass


def test_the_command_serves_until_it_is_stopped(run: Path) -> None:
    pytest.importorskip("gradio", reason="the extra `explore` is not installed")
    process = served_by_command([run])
    try:
        assert status(address_of(process)) == 200
    finally:
        process.send_signal(signal.SIGTERM)
    assert process.wait(120) == 130
