"""How soon a waiting run begins, and since when it waits."""

import django.utils.timezone
from django.db import migrations, models

from annotate.core.db.postgres.field_alongside import AddFieldAlongside


class Migration(migrations.Migration):
    dependencies = [("training", "0008_attempt_node")]

    operations = [
        AddFieldAlongside(
            model_name="run",
            name="priority",
            field=models.CharField(
                choices=[("high", "High"), ("normal", "Normal"), ("low", "Low")], default="normal", max_length=6
            ),
        ),
        AddFieldAlongside(
            model_name="run",
            name="queued_at",
            field=models.DateTimeField(
                default=django.utils.timezone.now, help_text="Since when it waits, or waited last."
            ),
        ),
    ]
