"""Characters that act unseen are shown as marks; all other text is left as it is."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sliderspace.core.text import shown


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("a\x1b[31mred\x00", "a␛[31mred␀"),
        ("abc\u202edcba\u2066x\u2069", "abc⟨U+202E⟩dcba⟨U+2066⟩x⟨U+2069⟩"),
        ("\u200b\ufeff\xad", "⟨U+200B⟩⟨U+FEFF⟩⟨U+00AD⟩"),
        ("done\rnot done\x7f\x9b2J", "done␍not done␡⟨U+009B⟩2J"),
        ("half \udcff", "half ⟨U+DCFF⟩"),
        ("one\u2028two", "one⟨U+2028⟩two"),
    ],
)
def test_what_acts_unseen_is_marked(text: str, seen: str) -> None:
    assert shown(text) == seen


@pytest.mark.parametrize("text", ["", "ein Mädchen\n\tund", "نمی\u200cخواهم", "👩\u200d🚀", "x̃₀ − “σ”", "עברית"])
def test_writing_of_all_kinds_stays(text: str) -> None:
    assert shown(text) == text


@given(st.text(st.characters(codec=None)))
def test_nothing_unseen_is_left_and_a_second_time_changes_nothing(text: str) -> None:
    once = shown(text)
    assert shown(once) == once and len(once) >= len(text)
    left = {c for c in once if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"}}
    assert left <= {"\n", "\t", "\u200c", "\u200d"}
