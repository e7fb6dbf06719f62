from django.db import migrations, models

from annotate.core.db.postgres.field_alongside import AddFieldAlongside


class Migration(migrations.Migration):
    dependencies = [("annotate", "0039_dataset_freeze"), ("training", "0015_tracked_runs")]

    operations = [
        migrations.AddField(
            model_name="run",
            name="other_reward_models",
            field=models.ManyToManyField(
                help_text="That parts of the reward name, beside the first.",
                related_name="other_rewarded_runs",
                to="annotate.languagemodel",
            ),
        ),
        AddFieldAlongside(
            model_name="sample",
            name="parts",
            field=models.JSONField(
                blank=True, default=dict, help_text="Of the score, by name, where a reward has several."
            ),
        ),
    ]
