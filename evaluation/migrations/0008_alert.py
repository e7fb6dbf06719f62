import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("annotate", "0029_from_scratch"),
        ("evaluation", "0007_first_model"),
    ]

    operations = [
        migrations.CreateModel(
            name="Alert",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("kind", models.CharField(help_text="A key of evaluation.alerts.alert_kinds.", max_length=40)),
                (
                    "about",
                    models.CharField(help_text="Tells it from others of its kind in the project.", max_length=200),
                ),
                ("text", models.CharField(max_length=300)),
                ("url", models.CharField(max_length=200)),
                (
                    "created_at",
                    models.DateTimeField(auto_now_add=True, help_text="When the cause was first seen."),
                ),
                ("opened_at", models.DateTimeField(blank=True, help_text="When people were told.", null=True)),
                ("closed_at", models.DateTimeField(blank=True, help_text="When the cause was gone.", null=True)),
                (
                    "project",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="alerts", to="annotate.project"
                    ),
                ),
            ],
            options={"ordering": ["-id"]},
        ),
        migrations.AddConstraint(
            model_name="alert",
            constraint=models.UniqueConstraint(
                condition=models.Q(("closed_at", None)),
                fields=("project", "kind", "about"),
                name="a_cause_has_one_alert_at_a_time",
            ),
        ),
    ]
