"""What one project may use of runs, GPUs and disk, where that is not what all may."""

import django.core.validators
import django.db.models.deletion
from django.db import migrations, models


def _figure(help_text):
    validators = [django.core.validators.MinValueValidator(0)]
    return models.FloatField(blank=True, help_text=help_text, null=True, validators=validators)


class Migration(migrations.Migration):
    dependencies = [("training", "0010_attempt_gpus")]

    operations = [
        migrations.CreateModel(
            name="Quota",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("runs", models.PositiveIntegerField(blank=True, help_text="At work at once.", null=True)),
                ("gpu_hours", _figure("In 30 days.")),
                ("disk_gb", _figure("Of its runs and models.")),
                (
                    "project",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE, related_name="quota", to="annotate.project"
                    ),
                ),
            ],
        ),
    ]
