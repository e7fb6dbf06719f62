"""How many GPUs an attempt holds, and since when: what quotas count."""

from django.db import migrations, models

from annotate.core.db.postgres.field_alongside import AddFieldAlongside


class Migration(migrations.Migration):
    dependencies = [("training", "0009_run_priority")]

    operations = [
        AddFieldAlongside(
            model_name="attempt",
            name="gpus",
            field=models.FloatField(default=0, help_text="That it holds for itself."),
        ),
        migrations.AddField(
            model_name="attempt",
            name="gpus_since",
            field=models.DateTimeField(blank=True, help_text="Since when it holds them.", null=True),
        ),
    ]
