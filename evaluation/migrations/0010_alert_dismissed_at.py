from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("evaluation", "0009_notice_mail")]

    operations = [
        migrations.AddField(
            model_name="alert",
            name="dismissed_at",
            field=models.DateTimeField(
                blank=True,
                help_text="When somebody said that nothing is to be done about the cause as it is.",
                null=True,
            ),
        )
    ]
