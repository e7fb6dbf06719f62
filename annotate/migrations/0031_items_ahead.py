from django.db import migrations, models

from annotate.core.db.postgres.field_alongside import AddFieldAlongside


class Migration(migrations.Migration):
    dependencies = [("annotate", "0030_membership_notice_mail")]

    operations = [
        AddFieldAlongside(
            model_name="assignment",
            name="is_ahead",
            field=models.BooleanField(
                default=False,
                help_text="Handed out ahead: it waits in their browser and they have not been shown it yet.",
            ),
        ),
        migrations.AddIndex(
            model_name="assignment",
            index=models.Index(
                condition=models.Q(("is_ahead", True)), fields=["user", "project"], name="handed_out_ahead"
            ),
        ),
    ]
