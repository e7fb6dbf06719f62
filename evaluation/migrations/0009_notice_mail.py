import django.db.models.deletion
from django.db import migrations, models

from annotate.core.db.postgres.field_alongside import AddFieldAlongside


class Migration(migrations.Migration):
    dependencies = [("evaluation", "0008_alert")]

    operations = [
        migrations.AddField(
            model_name="notice",
            name="alert",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="notices",
                to="evaluation.alert",
            ),
        ),
        migrations.AddField(
            model_name="notice",
            name="mail_at",
            field=models.DateTimeField(
                blank=True, help_text="When it is to be mailed; empty: never, or done.", null=True
            ),
        ),
        AddFieldAlongside(model_name="notice", name="mail_tries", field=models.PositiveSmallIntegerField(default=0)),
        migrations.AddField(model_name="notice", name="mailed_at", field=models.DateTimeField(blank=True, null=True)),
        migrations.AddIndex(
            model_name="notice",
            index=models.Index(
                condition=models.Q(("mail_at__isnull", False), ("seen_at", None)),
                fields=["mail_at"],
                name="notice_mail_to_go",
            ),
        ),
    ]
