from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("annotate", "0033_reword_help_texts")]

    operations = [
        migrations.AlterField(
            model_name="membership",
            name="language",
            field=models.CharField(
                blank=True, help_text="Tags of the languages that they read: de, pt-BR. Empty: all.", max_length=120
            ),
        ),
        migrations.AlterField(
            model_name="invitation",
            name="language",
            field=models.CharField(blank=True, help_text="As their membership has it.", max_length=120),
        ),
    ]
