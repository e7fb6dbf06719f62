"""All migrations up to here in one, for a new database; where they ran already, this one counts as run."""

import django.db.models.deletion
import uuid
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    replaces = [('training', '0001_initial'), ('training', '0002_attempt_cost'), ('training', '0003_other_and_output_dataset'), ('training', '0004_pauses_and_reviews'), ('training', '0005_clones_and_remedies'), ('training', '0006_share_registered_models')]

    initial = True

    dependencies = [
        ('annotate', '0001_squashed_0028_prompt_replaced_by'),
    ]

    operations = [
        migrations.CreateModel(
            name='Run',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.CharField(max_length=24)),
                ('name', models.CharField(help_text='Also the name of the model that it makes.', max_length=120)),
                ('config', models.JSONField(default=dict)),
                ('seed', models.BigIntegerField(default=0)),
                ('code_version', models.CharField(blank=True, max_length=80)),
                ('state', models.CharField(choices=[('queued', 'Queued'), ('running', 'Running'), ('succeeded', 'Succeeded'), ('failed', 'Failed'), ('cancelled', 'Cancelled'), ('paused', 'Paused')], default='queued', max_length=10)),
                ('reason_code', models.CharField(blank=True, max_length=60)),
                ('reason', models.TextField(blank=True, help_text='What happened, in words.')),
                ('remedy', models.TextField(blank=True, help_text='What to do about it, in words.')),
                ('remedy_changes', models.JSONField(blank=True, default=dict, help_text='The remedy as options: name to value.')),
                ('cancel_requested_at', models.DateTimeField(blank=True, null=True)),
                ('phase', models.CharField(blank=True, max_length=80)),
                ('step', models.PositiveBigIntegerField(default=0)),
                ('total_steps', models.PositiveBigIntegerField(default=0)),
                ('ends_at', models.DateTimeField(blank=True, help_text='Estimated.', null=True)),
                ('result', models.JSONField(default=dict)),
                ('pause', models.JSONField(blank=True, default=dict, help_text='While it is paused: why, and the choices.')),
                ('amendments', models.JSONField(blank=True, default=list, help_text='What was chosen at each pause, by whom: the config itself never changes.')),
                ('idempotency_key', models.CharField(blank=True, max_length=120, null=True, unique=True)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('started_at', models.DateTimeField(blank=True, null=True)),
                ('finished_at', models.DateTimeField(blank=True, null=True)),
                ('cloned_from', models.ForeignKey(blank=True, help_text='Queued again with changes.', null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='clones', to='training.run')),
                ('completions', models.ManyToManyField(related_name='sampled_by', to='annotate.completion')),
                ('created_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='runs', to=settings.AUTH_USER_MODEL)),
                ('dataset', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='runs', to='annotate.dataset')),
                ('other_dataset', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='other_runs', to='annotate.dataset')),
                ('output_dataset', models.OneToOneField(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='made_by', to='annotate.dataset')),
                ('output_model', models.OneToOneField(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='made_by', to='annotate.languagemodel')),
                ('parent', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='runs', to='annotate.languagemodel')),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='runs', to='annotate.project')),
                ('reward_model', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='rewarded_runs', to='annotate.languagemodel')),
            ],
            options={
                'ordering': ['-id'],
                'indexes': [models.Index(fields=['state', 'id'], name='training_ru_state_b06f94_idx')],
            },
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
        migrations.CreateModel(
            name='Metric',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('sequence', models.PositiveBigIntegerField()),
                ('step', models.PositiveBigIntegerField()),
                ('values', models.JSONField()),
                ('time', models.DateTimeField()),
                ('run', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='metrics', to='training.run')),
            ],
            options={
                'ordering': ['sequence'],
                'constraints': [models.UniqueConstraint(fields=('run', 'sequence'), name='metrics_arrive_once')],
            },
        ),
        migrations.CreateModel(
            name='Attempt',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('number', models.PositiveSmallIntegerField()),
                ('lease', models.UUIDField(default=uuid.uuid4)),
                ('lease_expires_at', models.DateTimeField()),
                ('worker', models.CharField(max_length=120)),
                ('launcher', models.CharField(max_length=120)),
                ('handle', models.CharField(blank=True, help_text='What the launcher calls it: a process group, a job id.', max_length=200)),
                ('state', models.CharField(choices=[('running', 'Running'), ('succeeded', 'Succeeded'), ('failed', 'Failed'), ('lost', 'Lost'), ('cancelled', 'Cancelled'), ('paused', 'Paused')], default='running', max_length=10)),
                ('exit_code', models.IntegerField(blank=True, null=True)),
                ('resumed_from_step', models.PositiveBigIntegerField(blank=True, null=True)),
                ('reason', models.TextField(blank=True)),
                ('cpu_seconds', models.FloatField(default=0)),
                ('memory_bytes', models.BigIntegerField(default=0, help_text='The most that it was seen to hold.')),
                ('started_at', models.DateTimeField(auto_now_add=True)),
                ('ended_at', models.DateTimeField(blank=True, null=True)),
                ('run', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='attempts', to='training.run')),
            ],
            options={
                'ordering': ['number'],
                'constraints': [models.UniqueConstraint(fields=('run', 'number'), name='attempts_are_numbered'), models.UniqueConstraint(condition=models.Q(('state', 'running')), fields=('run',), name='a_run_has_one_attempt_under_way')],
            },
        ),
        migrations.CreateModel(
            name='Sample',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('sequence', models.PositiveBigIntegerField()),
                ('step', models.PositiveBigIntegerField()),
                ('prompt', models.JSONField()),
                ('completion', models.TextField()),
                ('score', models.FloatField(blank=True, null=True)),
                ('run', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='samples', to='training.run')),
            ],
            options={
                'ordering': ['sequence'],
                'constraints': [models.UniqueConstraint(fields=('run', 'sequence'), name='samples_arrive_once')],
            },
        ),
    ]
