"""Language tags: what is one, how it is written, and which tags are one language."""

from __future__ import annotations

import pytest

from common.languages import language_names, language_tags


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ("de", "de"),
        (" DE ", "de"),
        ("pt_br", "pt-BR"),
        ("PT-br", "pt-BR"),
        ("zh-hant-tw", "zh-Hant-TW"),
        ("es-419", "es-419"),
        ("sl-rozaj-1994", "sl-rozaj-1994"),
        ("haw", "haw"),
        ("", ""),
        ("und", ""),
    ],
)
def test_a_tag_is_written_in_one_way(text, tag):
    assert language_tags.parse_tag(text) == tag
    assert language_tags.parse_tag(tag) == tag


@pytest.mark.parametrize(
    "text", ["German!", "english", "d", "de-", "de--AT", "d1", "de AT", "日本語", "de\x00", "x" * 36]
)
def test_what_is_no_tag_says_what_would_be(text):
    with pytest.raises(ValueError, match="such as de or pt-BR"):
        language_tags.parse_tag(text)
    assert language_names.tag_of(text) in ("", "en")


def test_a_file_may_name_a_language_in_english():
    assert [language_names.tag_of(name) for name in ("English", "portuguese", "de-AT", "Klingon", "unknown")] == [
        "en", "pt", "de-AT", "", "",
    ]  # fmt: skip


def test_a_list_has_each_tag_once_however_it_is_separated():
    assert language_tags.parse_list("de, pt_br;en/de  fr") == "de, pt-BR, en, fr"
    assert language_tags.parse_list("  ") == ""
    with pytest.raises(ValueError, match="'german' is not a language code"):
        language_tags.parse_list("de, german")
    with pytest.raises(ValueError, match="enter fewer"):
        language_tags.parse_list(" ".join(f"{a}{b}" for a in "abcdef" for b in "abcdef"))


def test_languages_are_compared_by_their_first_part():
    assert language_tags.primary("pt-BR") == language_tags.primary("pt") == "pt"
    assert language_tags.primaries("pt-BR, de, pt") == ("pt", "de")
    assert language_tags.primaries("") == ()
    assert language_names.names(["de", "pt", "qaa"]) == "German, Portuguese and qaa"
    assert language_names.names(["de"]) == "German"
