"""Templates and style sheets say the same names."""

from __future__ import annotations

import re

from django.conf import settings

TEMPLATES, STATIC = settings.BASE_DIR / "templates", settings.BASE_DIR / "static"


def test_each_class_of_a_body_has_rules():
    """The class of a body lays out a whole page: renamed in the template alone, nothing fails and all looks wrong."""
    block = r"{% block body_attributes %}class=\"([\w -]+)\""
    classes = {
        name
        for path in TEMPLATES.rglob("*.html")
        for found in re.findall(block, path.read_text())
        for name in found.split()
    }
    rules = "".join(path.read_text() for path in STATIC.rglob("*.css") if "vendor" not in path.parts)
    assert classes and not {name for name in classes if not re.search(rf"\.{name}(?![\w-])", rules)}
