from django.db import migrations, models

from annotate.core.db.postgres.field_alongside import AddFieldAlongside


class Migration(migrations.Migration):
    dependencies = [("annotate", "0039_dataset_freeze")]

    operations = [
        AddFieldAlongside(
            model_name="prompt",
            name="answer",
            field=models.TextField(blank=True, default="", help_text="The right one, which rewards compare with."),
        ),
    ]
