"""Name languages in English, and find their tags by these names. Pure: no Django."""

from __future__ import annotations

from collections.abc import Iterable

from common.languages.language_tags import parse_tag

_NAMES = {
    "ar": "Arabic", "bg": "Bulgarian", "bn": "Bengali", "ca": "Catalan", "cs": "Czech", "da": "Danish", "de": "German",
    "el": "Greek", "en": "English", "es": "Spanish", "et": "Estonian", "eu": "Basque", "fa": "Persian", "fi": "Finnish",
    "fr": "French", "he": "Hebrew", "hi": "Hindi", "hr": "Croatian", "hu": "Hungarian", "id": "Indonesian",
    "it": "Italian", "ja": "Japanese", "ko": "Korean", "lt": "Lithuanian", "lv": "Latvian", "ms": "Malay",
    "nl": "Dutch", "no": "Norwegian", "pl": "Polish", "pt": "Portuguese", "ro": "Romanian", "ru": "Russian",
    "sk": "Slovak", "sl": "Slovenian", "sr": "Serbian", "sv": "Swedish", "sw": "Swahili", "ta": "Tamil",
    "te": "Telugu", "th": "Thai", "tl": "Tagalog", "tr": "Turkish", "uk": "Ukrainian", "ur": "Urdu",
    "vi": "Vietnamese", "zh": "Chinese",
}  # fmt: skip
_BY_NAME = {name.lower(): tag for tag, name in _NAMES.items()}


def tag_of(text: str) -> str:
    """Return the tag that a file means, by its code or its English name; "" where it means none that we know."""
    if not text:
        return ""
    try:
        return _BY_NAME.get(text.strip().lower(), "") or parse_tag(text)
    except ValueError:
        return ""


def names(tags: Iterable[str]) -> str:
    """Return the languages in words: "German and Portuguese". A language without a name here is called by its code."""
    words = [_NAMES.get(tag, tag) for tag in tags]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
