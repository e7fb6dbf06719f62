from typing import Any

from django.conf import settings
from django.db import migrations, models

from annotate.core.db.postgres.drop_alongside import DropFieldIndexAlongside
from annotate.core.db.postgres.narrow_alongside import NarrowFieldIndexAlongside


def _drop(model: str, field: str, to: str, **about: Any) -> DropFieldIndexAlongside:
    return DropFieldIndexAlongside(
        model_name=model, name=field, field=models.ForeignKey(db_index=False, to=to, **{"related_name": "+"} | about)
    )


def _narrow(field: str, to: str, **about: Any) -> NarrowFieldIndexAlongside:
    return NarrowFieldIndexAlongside(
        model_name="assignment",
        name=field,
        field=models.ForeignKey(blank=True, db_index=False, null=True, to=to, **about),
        index=models.Index(
            condition=models.Q((f"{field}__isnull", False)), fields=[field], name=f"assignment_by_{field}"
        ),
    )


class Migration(migrations.Migration):
    # Other indexes begin with the same keys, and hardly any assignment has the last three: each was written twice for
    # every annotation.
    atomic = False

    dependencies = [
        ("annotate", "0045_changes_that_can_wait"),
    ]

    operations = [
        _drop("assignment", "project", "annotate.project", on_delete=models.CASCADE, related_name="assignments"),
        _drop("assignment", "user", settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="assignments"),
        _drop("assignment", "prompt", "annotate.prompt", on_delete=models.PROTECT),
        _drop("queueentry", "project", "annotate.project", on_delete=models.CASCADE),
        _narrow("gold", "annotate.golditem", on_delete=models.PROTECT, related_name="assignments"),
        _narrow("repeats", "annotate.assignment", on_delete=models.PROTECT, related_name="repetitions"),
        _narrow("sent_back_by", settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, related_name="+"),
    ]
