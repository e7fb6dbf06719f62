import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('annotate', '0006_model_and_dataset_kinds'),
        ('training', '0003_other_and_output_dataset'),
    ]

    operations = [
        migrations.AddField(
            model_name='run',
            name='amendments',
            field=models.JSONField(blank=True, default=list, help_text='What was chosen at each pause, by whom: the config itself never changes.'),
        ),
        migrations.AddField(
            model_name='run',
            name='pause',
            field=models.JSONField(blank=True, default=dict, help_text='While it is paused: why, and the choices.'),
        ),
        migrations.AlterField(
            model_name='attempt',
            name='state',
            field=models.CharField(choices=[('running', 'Running'), ('succeeded', 'Succeeded'), ('failed', 'Failed'), ('lost', 'Lost'), ('cancelled', 'Cancelled'), ('paused', 'Paused')], default='running', max_length=10),
        ),
        migrations.CreateModel(
            name='Review',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('sequence', models.PositiveBigIntegerField()),
                ('step', models.PositiveBigIntegerField()),
                ('predicted', models.FloatField(help_text="The reward model's probability that the policy's answer is the better.")),
                ('policy_score', models.FloatField()),
                ('parent_score', models.FloatField()),
                ('not_asked', models.CharField(blank=True, help_text='Why nobody can judge it; empty when it was asked.', max_length=200)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('parent_answer', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='reviewed_beside', to='annotate.completion')),
                ('policy_answer', models.OneToOneField(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='reviewed_in', to='annotate.completion')),
                ('prompt', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='annotate.prompt')),
                ('run', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='reviews', to='training.run')),
            ],
            options={
                'ordering': ['sequence'],
                'constraints': [models.UniqueConstraint(fields=('run', 'sequence'), name='reviews_arrive_once'), models.CheckConstraint(condition=models.Q(models.Q(('not_asked', ''), ('parent_answer__isnull', False), ('policy_answer__isnull', False), ('prompt__isnull', False)), models.Q(('not_asked', ''), _negated=True), _connector='OR'), name='a_review_is_asked_or_says_why_not')],
            },
        ),
    ]
