"""Whether a policy that a run makes competes at once."""

from django.db import migrations, models

from annotate.core.db.postgres.field_alongside import AddFieldAlongside


class Migration(migrations.Migration):
    dependencies = [("training", "0013_reword_help_texts")]

    operations = [
        AddFieldAlongside(
            model_name="run",
            name="enters_arena",
            field=models.BooleanField(
                default=True, help_text="Whether a policy that it makes competes at once; else somebody enters it later."
            ),
        )
    ]
