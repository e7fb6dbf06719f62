from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("annotate", "0044_index_gold")]

    operations = [
        migrations.AddField(
            model_name="queuechange",
            name="can_wait_until",
            field=models.DateTimeField(
                null=True, blank=True, help_text="Until then items may be handed out without it; empty: none may."
            ),
        ),
    ]
