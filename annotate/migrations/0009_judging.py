from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("annotate", "0008_workbench")]

    operations = [
        migrations.AddField(
            model_name="dataset",
            name="rankings",
            field=models.ManyToManyField(
                help_text="Their pairs are in it.", related_name="datasets", to="annotate.ranking"
            ),
        ),
        migrations.AddField(
            model_name="dataset",
            name="spans",
            field=models.ManyToManyField(related_name="datasets", to="annotate.span"),
        ),
    ]
