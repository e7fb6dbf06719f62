import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("annotate", "0010_fair_work")]

    operations = [
        migrations.CreateModel(
            name="Origin",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("kind", models.CharField(help_text="comparison, rating, …, prompt: the name of its table.", max_length=16)),
                ("row_id", models.BigIntegerField()),
                ("line", models.BigIntegerField(blank=True, null=True)),
                ("kept", models.JSONField(help_text="Fields of its item.")),
                ("of", models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name="origins", to="annotate.import")),
            ],
            options={"constraints": [models.UniqueConstraint(fields=("kind", "row_id"), name="a_row_has_one_origin")]},
        ),
    ]
