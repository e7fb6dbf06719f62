"""Which workers take no new run, for maintenance."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("training", "0011_quota")]

    operations = [
        migrations.CreateModel(
            name="Drain",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=120, unique=True)),
                (
                    "gives_back",
                    models.BooleanField(default=False, help_text="Its runs go back into the queue at once."),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
            ],
        ),
    ]
