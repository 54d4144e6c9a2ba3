"""The page in a browser: one component of Gradio, which serves it, and asks for the password where there is one."""

import hmac
from collections.abc import Generator
from contextlib import contextmanager
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sliderspace.core.errors import BadInput
from sliderspace.explore.session import Session

if TYPE_CHECKING:
    import gradio

LOCAL = ("127.0.0.1", "localhost", "::1")
NO_UPLOADS = 1  # bytes: nothing on the page takes a file


def _template(name: str) -> str:
    return files("sliderspace.explore").joinpath("templates", name).read_text(encoding="utf-8")


def page(session: Session) -> "gradio.Blocks":
    """The app, not yet served. Raises BadInput where Gradio is not installed."""
    gr = _gradio()

    def act(asked: object) -> dict[str, Any]:
        return session.act(asked)

    with gr.Blocks(title="sliderspace", analytics_enabled=False) as blocks:
        gr.HTML(
            html_template=_template("page.html"),
            js_on_load=_template("page.js") + _template("runs.js"),
            server_functions=[act],
            apply_default_css=False,
            elem_id="sliderspace",
        )
    return blocks


@contextmanager
def served(
    session: Session, *, host: str = "127.0.0.1", port: int | None = None, password: str | None = None
) -> Generator[str]:
    """The app's address, while it is served. A port that is left out is the first free one from 7860 on.

    Raises BadInput for an address that others can reach without a password, and a port that is taken.
    """
    if host not in LOCAL and not password:
        raise BadInput(f"{host} can be reached from other machines: choose a --password, or leave --host out")
    gr = _gradio()
    blocks = page(session)
    try:
        _, address, _ = blocks.launch(
            server_name=host,
            server_port=port,
            auth=(lambda _, typed: hmac.compare_digest(typed.encode(), (password or "").encode()))
            if password
            else None,
            prevent_thread_lock=True,
            quiet=True,
            share=False,
            inbrowser=False,
            ssr_mode=False,
            _frontend=False,  # no probe of the page, which gives up after 3 s on a busy machine
            footer_links=[],
            allowed_paths=[],
            max_file_size=NO_UPLOADS,
            app_kwargs={"middleware": _guards(local=host in LOCAL)},
            enable_monitoring=False,
            mcp_server=False,
            pwa=False,
            theme=gr.themes.Base(font="system-ui", font_mono="monospace"),
            css=_template("page.css"),
        )
    except OSError as error:
        raise BadInput(
            f"cannot serve on {host}, port {port or '7860-7959'}: {error}\nChoose another --port."
        ) from error
    try:
        yield address
    finally:
        session.discovery.stop()
        blocks.close(verbose=False)


def _guards(*, local: bool) -> list[Any]:
    """No page of another site may act here: neither from its own address, nor under a name that leads to this machine
    (DNS rebinding)."""
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    names = [Middleware(TrustedHostMiddleware, allowed_hosts=[*LOCAL, "[::1]"])] if local else []
    return [*names, Middleware(OwnPagesOnly)]


class OwnPagesOnly:
    """Refuses what a page of another origin sends."""

    def __init__(self, app: Any):
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        from starlette.responses import PlainTextResponse

        headers = dict(scope.get("headers", ()))
        origin = headers.get(b"origin", b"").decode("latin-1")
        if origin and urlsplit(origin).netloc != headers.get(b"host", b"").decode("latin-1"):
            await PlainTextResponse("another site's page may not act here", 403)(scope, receive, send)
        else:
            await self.app(scope, receive, send)


def _gradio() -> Any:
    try:
        import gradio
    except ImportError:
        raise BadInput("the app needs Gradio: pip install 'sliderspace[explore]'") from None
    return gradio
