from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('training', '0012_drain'),
    ]

    operations = [
        migrations.AlterField(
            model_name='review',
            name='not_asked',
            field=models.CharField(blank=True, help_text='Why nobody can annotate it; empty when it was asked.', max_length=200),
        ),
    ]
