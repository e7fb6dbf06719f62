from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('evaluation', '0010_alert_dismissed_at'),
    ]

    operations = [
        migrations.AlterField(
            model_name='askedagain',
            name='places',
            field=models.PositiveIntegerField(help_text='Annotators in all, including those who have annotated it before.'),
        ),
        migrations.AlterField(
            model_name='exclusion',
            name='brought_back',
            field=models.JSONField(blank=True, default=dict, help_text='By kind, how many annotations the undo restored.'),
        ),
        migrations.AlterField(
            model_name='exclusion',
            name='source',
            field=models.CharField(blank=True, help_text='The import that names the annotator.', max_length=60),
        ),
        migrations.AlterField(
            model_name='exclusion',
            name='source_judge',
            field=models.CharField(blank=True, help_text="The annotator's name in its file.", max_length=120),
        ),
        migrations.AlterField(
            model_name='exclusion',
            name='status',
            field=models.CharField(choices=[('excluded', 'Excluded'), ('withdrawn', 'Withdrawn')], help_text='The new status of their annotations.', max_length=10),
        ),
    ]
