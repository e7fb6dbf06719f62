from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("annotate", "0011_imports")]

    operations = [
        migrations.AddField(
            model_name="battle",
            name="begun_at",
            field=models.DateTimeField(blank=True, help_text="Since when a vote could be cast.", null=True),
        ),
        migrations.AddField(
            model_name="battle",
            name="draft_a",
            field=models.TextField(
                blank=True, help_text="What is written of A's answer so far, for other processes.", default=""
            ),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name="battle", name="draft_b", field=models.TextField(blank=True, default=""), preserve_default=False
        ),
        migrations.AddField(
            model_name="battle",
            name="stop_asked_at",
            field=models.DateTimeField(
                blank=True, help_text="The writer looks: both answers end here.", null=True
            ),
        ),
        migrations.AddField(
            model_name="battleturn",
            name="spoilt_reason",
            field=models.CharField(
                blank=True, help_text="One side failed: the turn is left out.", max_length=200, default=""
            ),
            preserve_default=False,
        ),
    ]
