from django.db import migrations, models

from annotate.core.db.postgres.field_alongside import AddFieldAlongside


class Migration(migrations.Migration):
    dependencies = [("annotate", "0034_member_languages")]

    operations = [
        AddFieldAlongside(
            model_name="queueentry",
            name="language",
            field=models.CharField(
                blank=True, default="", help_text="Of its prompt, without the region, such as pt.", max_length=3
            ),
            preserve_default=False,
        ),
        migrations.AddIndex(
            model_name="queueentry",
            index=models.Index(fields=["project", "kind", "language", "level", "lot"], name="queue_of_a_language"),
        ),
    ]
