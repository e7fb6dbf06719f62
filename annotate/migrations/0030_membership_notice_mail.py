from django.db import migrations, models

from annotate.core.db.postgres.field_alongside import AddFieldAlongside


class Migration(migrations.Migration):
    dependencies = [("annotate", "0029_from_scratch")]

    operations = [
        AddFieldAlongside(
            model_name="membership",
            name="notice_mail",
            field=models.CharField(
                choices=[
                    ("own_runs", "my own runs at once, others daily"),
                    ("at_once", "at once"),
                    ("daily", "once a day"),
                    ("never", "never"),
                ],
                default="own_runs",
                help_text="When notices of the project are mailed to a manager or researcher.",
                max_length=8,
            ),
        ),
    ]
