from typing import Any

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

from annotate.core.db.postgres.narrow_alongside import NarrowFieldIndexAlongside

_FEEDBACK = ("attack", "comparison", "demonstration", "flag", "ranking", "rating", "span")


def _narrow(model: str, field: str, index: str, to: str, **about: Any) -> NarrowFieldIndexAlongside:
    about = {"on_delete": django.db.models.deletion.PROTECT} | about
    return NarrowFieldIndexAlongside(
        model_name=model,
        name=field,
        field=models.ForeignKey(blank=True, db_index=False, null=True, to=to, **about),
        index=models.Index(condition=models.Q((f"{field}__isnull", False)), fields=[field], name=index),
    )


class Migration(migrations.Migration):
    # Keys that no imported row has: each was a page more to write for every row, for queries that ask for a value.
    atomic = False

    dependencies = [
        ("annotate", "0041_drop_redundant_indexes"),
    ]

    operations = [
        _narrow(
            *("prompt", "root", "prompts_by_root", "annotate.prompt"),
            related_name="later",
            help_text="First turn of a conversation.",
        ),
        _narrow(
            *("prompt", "replaced_by", "prompts_by_newer_version", "annotate.prompt"),
            related_name="replaces",
            help_text="Its newer version.",
        ),
        _narrow(
            *("prompt", "reviewed_by", "prompts_by_reviewer", settings.AUTH_USER_MODEL),
            related_name="+",
            on_delete=django.db.models.deletion.SET_NULL,
        ),
        _narrow("completion", "model", "completions_by_model", "annotate.languagemodel", related_name="completions"),
        *[
            _narrow(name, "assignment", f"{name}_by_assignment", "annotate.assignment", related_name="%(class)ss")
            for name in _FEEDBACK
        ],
        _narrow("comparison", "ranking", "comparison_by_ranking", "annotate.ranking", related_name="pairs"),
        _narrow("demonstration", "edited_from", "demonstration_by_original", "annotate.completion", related_name="edits"),
    ]
