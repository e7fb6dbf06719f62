"""Mending text: what was decoded wrongly somewhere, HTML entities, control characters and line ends (ftfy, NFC)."""

from __future__ import annotations

import ftfy

from training.corpora.cleaning.rules import Verdict

# Quotation marks and full-width forms are how people write; only what is broken is mended.
_CONFIG = ftfy.TextFixerConfig(uncurl_quotes=False, fix_character_width=False, normalization="NFC", explain=False)


def mend(text: str) -> Verdict:
    mended = ftfy.fix_text(text, _CONFIG).replace("\x00", "").strip()
    return Verdict(mended) if mended else Verdict(mended, "only control characters")
