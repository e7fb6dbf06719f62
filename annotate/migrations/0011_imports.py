import django.db.models.deletion
from django.db import migrations, models

FEEDBACK = ("comparison", "demonstration", "flag", "ranking", "rating", "span")
JUDGE = "Of an import: the judge's name in its file."
EXTRA = "Of an import: what its file says beside it."


def hash_imported_texts(apps, schema_editor):
    """What earlier versions imported is found again, too."""
    import hashlib

    Completion = apps.get_model("annotate", "Completion")
    imported = Completion.objects.filter(model=None, text_hash="").exclude(source="").only("id", "text")
    batch = []
    for row in imported.iterator(1000):
        row.text_hash = hashlib.sha256(row.text.encode()).hexdigest()
        batch.append(row)
        if len(batch) == 400:
            Completion.objects.bulk_update(batch, ["text_hash"])
            batch = []
    Completion.objects.bulk_update(batch, ["text_hash"])


class Migration(migrations.Migration):
    dependencies = [("annotate", "0010_fair_work")]

    operations = [
        *(
            operation
            for name in FEEDBACK
            for operation in (
                migrations.AddField(name, "source_judge", models.CharField(blank=True, default="", max_length=120, help_text=JUDGE), preserve_default=False),
                migrations.AddField(name, "extra", models.JSONField(blank=True, default=dict, help_text=EXTRA)),
            )
        ),
        migrations.AddField(
            "completion", "text_hash",
            models.CharField(blank=True, default="", max_length=64, help_text="Of imported text, so that it is found again."),
            preserve_default=False,
        ),
        migrations.AddField(
            "completion", "named_model",
            models.CharField(blank=True, default="", max_length=120, help_text="Of an import: what its file calls the model."),
            preserve_default=False,
        ),
        migrations.AddIndex("completion", models.Index(fields=["prompt", "text_hash"], name="completions_by_text")),
        migrations.AlterField(
            "completion", "prompt",
            models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name="completions", to="annotate.prompt"),
        ),
        migrations.RunPython(hash_imported_texts, migrations.RunPython.noop, elidable=True),
        migrations.AddField("import", "rate", models.FloatField(default=0, help_text="Rows a second, of late.")),
        migrations.AddField(
            "webhook", "old_secret",
            models.CharField(blank=True, default="", max_length=100, help_text="Signs too, until its day is over."),
            preserve_default=False,
        ),
        migrations.AddField("webhook", "old_secret_until", models.DateTimeField(blank=True, null=True)),
        migrations.AddField(
            "webhook", "failing_since",
            models.DateTimeField(blank=True, null=True, help_text="The first failure after the last success."),
        ),
    ]
