import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('training', '0004_pauses_and_reviews'),
    ]

    operations = [
        migrations.AddField(
            model_name='run',
            name='cloned_from',
            field=models.ForeignKey(blank=True, help_text='Queued again with changes.', null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='clones', to='training.run'),
        ),
        migrations.AddField(
            model_name='run',
            name='remedy_changes',
            field=models.JSONField(blank=True, default=dict, help_text='The remedy as options: name to value.'),
        ),
    ]
