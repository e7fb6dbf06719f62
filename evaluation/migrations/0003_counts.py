import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("evaluation", "0002_figures_counts_and_decisions")]
    operations = [
        migrations.CreateModel(
            name="VoteCursor",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("last_comparison_id", models.BigIntegerField(default=0)),
                ("last_status_change_id", models.BigIntegerField(default=0)),
                (
                    "late",
                    models.JSONField(
                        default=dict, help_text="Ids that were missing when the cursor passed them, by table."
                    ),
                ),
            ],
        ),
        # Nothing had been counted before: the table is made anew in its new shape.
        migrations.DeleteModel(name="VoteCounts"),
        migrations.CreateModel(
            name="VoteCounts",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("judge", models.CharField(max_length=10)),
                (
                    "part",
                    models.CharField(
                        blank=True,
                        choices=[("", "all"), ("category", "Category"), ("language", "Language")],
                        default="",
                        max_length=8,
                    ),
                ),
                (
                    "name",
                    models.CharField(
                        blank=True, help_text="Which category or language; empty for all.", max_length=60
                    ),
                ),
                (
                    "model_ids",
                    models.JSONField(default=list, help_text="Ids of language models, in the order of the cells."),
                ),
                (
                    "cells",
                    models.BinaryField(
                        help_text="How often A was i, B was j and the label k: compressed (M, M, 4) int64."
                    ),
                ),
                ("votes", models.BigIntegerField(default=0)),
                ("left_out", models.JSONField(default=dict, help_text="How many do not count, by status.")),
                (
                    "spread",
                    models.JSONField(
                        default=dict, help_text="How votes were spread over voters when that was last read."
                    ),
                ),
                ("last_comparison_id", models.BigIntegerField(default=0)),
                ("last_status_change_id", models.BigIntegerField(default=0)),
                ("state", models.CharField(help_text="Another one after each change.", max_length=32)),
                ("changed_at", models.DateTimeField()),
                (
                    "project",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="vote_counts", to="annotate.project"
                    ),
                ),
            ],
        ),
        migrations.AddConstraint(
            model_name="votecounts",
            constraint=models.UniqueConstraint(
                fields=("project", "judge", "part", "name"), name="one_count_of_the_same_votes"
            ),
        ),
        migrations.AddField(
            model_name="leaderboard",
            name="state",
            field=models.CharField(
                blank=True, default="", help_text="Of the counts that it was fitted to.", max_length=32
            ),
            preserve_default=False,
        ),
        migrations.AlterField(
            model_name="leaderboard",
            name="created_at",
            field=models.DateTimeField(default=django.utils.timezone.now),
        ),
    ]
