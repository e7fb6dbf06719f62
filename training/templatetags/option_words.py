"""Options of a run in words, for templates."""

from __future__ import annotations

import re
from dataclasses import fields

from django import template

from training import configs

register = template.Library()


@register.filter
def option_words(name: str, kind: str) -> str:
    """Say an option in words by the beginning of its help: `stop_kl` -> `bound on the KL from the parent, in nats an
    answer`."""
    fields_by_name = {f.name: f for f in fields(configs.CONFIGS[kind])} if kind in configs.CONFIGS else {}
    text = str(fields_by_name[name].metadata.get("help", "")) if name in fields_by_name else ""
    return re.split("[;.] ", text.removeprefix("bound: "))[0] or name.replace("_", " ")
