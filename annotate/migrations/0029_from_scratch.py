from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("annotate", "0028_prompt_replaced_by")]

    operations = [
        migrations.AddField(
            model_name="project",
            name="from_scratch",
            field=models.BooleanField(
                default=False, help_text="Shows what comes before finetuning: corpora, tokenizers and pretraining."
            ),
        ),
    ]
