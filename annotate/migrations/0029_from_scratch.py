from django.db import migrations, models

from annotate.core.db.postgres.field_alongside import AddFieldAlongside


class Migration(migrations.Migration):
    dependencies = [("annotate", "0028_prompt_replaced_by")]

    operations = [
        AddFieldAlongside(
            model_name="project",
            name="from_scratch",
            field=models.BooleanField(
                default=False, help_text="Shows what comes before finetuning: corpora, tokenizers and pretraining."
            ),
        ),
    ]
