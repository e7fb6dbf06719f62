"""On which node of a cluster an attempt works, for the run's page."""

from django.db import migrations, models

from annotate.core.db.postgres.field_alongside import AddFieldAlongside


class Migration(migrations.Migration):
    dependencies = [("training", "0007_from_scratch")]

    operations = [
        AddFieldAlongside(
            model_name="attempt",
            name="node",
            field=models.CharField(blank=True, help_text="Of a cluster: where it works.", max_length=120),
        ),
    ]
