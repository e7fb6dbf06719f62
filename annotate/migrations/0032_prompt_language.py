from django.db import migrations, models

from annotate.core.db.postgres.field_alongside import AddFieldAlongside


class Migration(migrations.Migration):
    dependencies = [("annotate", "0031_items_ahead")]

    operations = [
        AddFieldAlongside(
            model_name="prompt",
            name="language",
            field=models.CharField(
                blank=True, default="", help_text="Its tag, such as de or pt-BR; empty: for everybody.", max_length=35
            ),
            preserve_default=False,
        ),
    ]
