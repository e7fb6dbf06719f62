import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("annotate", "0027_tours"),
    ]

    operations = [
        migrations.AddField(
            model_name="prompt",
            name="replaced_by",
            field=models.ForeignKey(
                blank=True,
                help_text="Its newer version.",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="replaces",
                to="annotate.prompt",
            ),
        ),
    ]
