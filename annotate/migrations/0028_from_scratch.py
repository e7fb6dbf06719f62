from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("annotate", "0027_tours")]

    operations = [
        migrations.AddField(
            model_name="project",
            name="from_scratch",
            field=models.BooleanField(
                default=False, help_text="Shows what comes before finetuning: corpora, tokenizers and pretraining."
            ),
        ),
    ]
