"""Where models come from: what a long download shows."""

import io
import time

import pytest

from sliderspace.models import sources


def test_a_bar_is_shown_for_what_takes_longer_than_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    for after in (3600.0, 0.01):
        monkeypatch.setattr(sources, "BAR_AFTER", after)
        out = io.StringIO()
        with sources._download_bar()(total=4, unit="B", unit_scale=True, file=out) as bar:
            time.sleep(0.05)
            bar.update(2)
            bar.set_description("half of it")
        shown.append(out.getvalue().strip())
    assert shown[0] == "" and "2.00/4.00" in shown[1]


def test_none_is_shown_where_the_user_has_switched_them_off(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    monkeypatch.setattr(sources, "BAR_AFTER", 0.001)
    assert not are_progress_bars_disabled()
    disable_progress_bars()
    try:
        out = io.StringIO()
        with sources._download_bar()(total=4, file=out) as bar:
            bar.update(4)
        assert out.getvalue() == ""
    finally:
        enable_progress_bars()
