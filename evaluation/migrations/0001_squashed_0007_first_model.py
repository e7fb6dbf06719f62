"""All migrations up to here in one, for a new database; where they ran already, this one counts as run."""

import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    replaces = [('evaluation', '0001_initial'), ('evaluation', '0002_figures_counts_and_decisions'), ('evaluation', '0003_counts'), ('evaluation', '0004_decisions'), ('evaluation', '0005_quality'), ('evaluation', '0006_imported_exclusions'), ('evaluation', '0007_first_model')]

    initial = True

    dependencies = [
        ('annotate', '0001_squashed_0028_prompt_replaced_by'),
        ('training', '0001_squashed_0006_share_registered_models'),
    ]

    operations = [
        migrations.CreateModel(
            name='PromptLanguage',
            fields=[
                ('prompt', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='found_language', serialize=False, to='annotate.prompt')),
                ('language', models.CharField(db_index=True, max_length=8)),
            ],
        ),
        migrations.CreateModel(
            name='Style',
            fields=[
                ('completion', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='style', serialize=False, to='annotate.completion')),
                ('length', models.PositiveIntegerField()),
                ('headers', models.PositiveIntegerField()),
                ('lists', models.PositiveIntegerField()),
                ('bold', models.PositiveIntegerField()),
            ],
        ),
        migrations.CreateModel(
            name='VoteCursor',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('last_comparison_id', models.BigIntegerField(default=0)),
                ('last_status_change_id', models.BigIntegerField(default=0)),
                ('late', models.JSONField(default=dict, help_text='Ids that were missing when the cursor passed them, by table.')),
            ],
        ),
        migrations.CreateModel(
            name='Candidacy',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('state', models.CharField(choices=[('open', 'Open'), ('ready', 'Ready'), ('refused', 'Refused'), ('promoted', 'Promoted'), ('withdrawn', 'Withdrawn')], default='open', max_length=10)),
                ('evidence', models.JSONField(blank=True, default=dict, help_text='Each check as it stands, with its numbers.')),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('changed_at', models.DateTimeField(auto_now=True)),
                ('champion', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='annotate.languagemodel')),
                ('model', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='candidacies', to='annotate.languagemodel')),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='candidacies', to='annotate.project')),
                ('run', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='candidacies', to='training.run')),
            ],
            options={
                'ordering': ['-id'],
                'constraints': [models.UniqueConstraint(fields=('project', 'model'), name='a_model_stands_once_in_a_project')],
            },
        ),
        migrations.CreateModel(
            name='Evaluation',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('task', models.CharField(blank=True, help_text='What it was measured on.', max_length=200)),
                ('group', models.CharField(blank=True, help_text='A part of the task; empty for the whole.', max_length=120)),
                ('metric', models.CharField(max_length=60)),
                ('value', models.FloatField()),
                ('standard_error', models.FloatField(blank=True, null=True)),
                ('lower', models.FloatField(blank=True, null=True)),
                ('upper', models.FloatField(blank=True, null=True)),
                ('n', models.PositiveIntegerField()),
                ('higher_is_better', models.BooleanField(blank=True, null=True)),
                ('items_hash', models.CharField(blank=True, help_text='Figures with one hash can be set item by item.', max_length=64)),
                ('clean', models.JSONField(blank=True, default=dict, help_text='The same without items that were trained on.')),
                ('signature', models.CharField(max_length=500)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('model', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='evaluations', to='annotate.languagemodel')),
                ('opponent', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='annotate.languagemodel')),
                ('project', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='evaluations', to='annotate.project')),
                ('run', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='evaluations', to='training.run')),
            ],
            options={
                'ordering': ['-id'],
                'indexes': [models.Index(fields=['project', 'task', 'metric', 'model'], name='evaluation__project_956ed0_idx')],
            },
        ),
        migrations.CreateModel(
            name='Exclusion',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('source', models.CharField(blank=True, help_text='The import that names the judge.', max_length=60)),
                ('source_judge', models.CharField(blank=True, help_text="The judge's name in its file.", max_length=120)),
                ('status', models.CharField(choices=[('excluded', 'Excluded'), ('withdrawn', 'Withdrawn')], help_text='What their judgements became.', max_length=10)),
                ('reason', models.CharField(max_length=160)),
                ('pauses', models.BooleanField(default=False, help_text='It also paused them, so that they get no new items.')),
                ('touched', models.JSONField(default=dict, help_text='What it touched, as it was shown before: ids and numbers.')),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('undone_at', models.DateTimeField(blank=True, null=True)),
                ('undone_reason', models.CharField(blank=True, max_length=160)),
                ('brought_back', models.JSONField(blank=True, default=dict, help_text='By kind, how many judgements the undoing did.')),
                ('by', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('changes', models.ManyToManyField(related_name='exclusions', to='annotate.statuschange')),
                ('person', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='exclusions', to=settings.AUTH_USER_MODEL)),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='exclusions', to='annotate.project')),
                ('undone_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ['-id'],
                'constraints': [models.UniqueConstraint(condition=models.Q(('undone_at', None)), fields=('project', 'person'), name='a_person_is_excluded_once_at_a_time'), models.UniqueConstraint(condition=models.Q(('person', None), ('undone_at', None)), fields=('project', 'source', 'source_judge'), name='an_imported_judge_is_excluded_once_at_a_time'), models.CheckConstraint(condition=models.Q(models.Q(('person__isnull', False), ('source', ''), ('source_judge', '')), models.Q(('person', None), models.Q(('source_judge', ''), _negated=True)), _connector='OR'), name='an_exclusion_names_one_judge')],
            },
        ),
        migrations.CreateModel(
            name='FirstModel',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('problem', models.TextField(blank=True, help_text='Why training did not go on by itself, in words.')),
                ('changed_at', models.DateTimeField(auto_now=True)),
                ('import_run', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='training.run')),
                ('model', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='annotate.languagemodel')),
                ('project', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='first_model', to='annotate.project')),
                ('prompts', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='annotate.import')),
                ('reward_run', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='training.run')),
                ('sampling_run', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='training.run')),
                ('training_run', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='training.run')),
            ],
        ),
        migrations.CreateModel(
            name='Leaderboard',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('judge', models.CharField(max_length=10)),
                ('last_comparison_id', models.BigIntegerField(help_text='Votes up to this one are in it.')),
                ('votes', models.PositiveIntegerField()),
                ('ratings', models.JSONField()),
                ('signature', models.CharField(max_length=500)),
                ('state', models.CharField(blank=True, help_text='Of the counts that it was fitted to.', max_length=32)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='leaderboards', to='annotate.project')),
            ],
            options={
                'ordering': ['-id'],
            },
        ),
        migrations.CreateModel(
            name='Notice',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('text', models.CharField(max_length=300)),
                ('url', models.CharField(max_length=200)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('seen_at', models.DateTimeField(blank=True, null=True)),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='notices', to='annotate.project')),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='notices', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ['-id'],
                'indexes': [models.Index(fields=['user', 'seen_at'], name='evaluation__user_id_737b65_idx')],
            },
        ),
        migrations.CreateModel(
            name='Promotion',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('reason', models.TextField()),
                ('is_automatic', models.BooleanField(default=False, help_text='By the rule, and not by a person.')),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('candidacy', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='promotions', to='evaluation.candidacy')),
                ('leaderboard', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='promotions', to='evaluation.leaderboard')),
                ('model', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='promotions', to='annotate.languagemodel')),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='promotions', to='annotate.project')),
                ('promoted_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('rolls_back', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='evaluation.promotion')),
            ],
            options={
                'ordering': ['-id'],
            },
        ),
        migrations.CreateModel(
            name='PromotionRule',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('judge', models.CharField(default='person', help_text='Whose votes decide.', max_length=10)),
                ('margin', models.FloatField(default=0, help_text='Rating points by which the lower bound must lie above the parent.')),
                ('always_valid', models.BooleanField(default=True, help_text='By the sequence that may be read after every vote.')),
                ('fewest_votes', models.PositiveIntegerField(default=0)),
                ('tolerances', models.JSONField(blank=True, default=list, help_text='[{"task", "metric", "worst"}]: how much worse than the parent at most.')),
                ('beats_champion', models.BooleanField(default=True, help_text='And above what is served now, by the same rule.')),
                ('is_automatic', models.BooleanField(default=False)),
                ('first_votes_only', models.BooleanField(default=True, help_text='Of each voter the first vote on a pair alone, so that the sequence holds.')),
                ('sampling', models.CharField(choices=[('auto', 'Auto'), ('always', 'Always'), ('never', 'Never')], default='auto', help_text='Whether answers are sampled at once.', max_length=6)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('created_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='promotion_rules', to='annotate.project')),
            ],
            options={
                'ordering': ['-id'],
            },
        ),
        migrations.CreateModel(
            name='Decision',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('what', models.CharField(choices=[('enrolled', 'Enrolled'), ('ready', 'Ready'), ('open', 'Open'), ('refused', 'Refused'), ('promoted', 'Promoted'), ('rolled_back', 'Rolled Back'), ('rule_changed', 'Rule Changed'), ('withdrawn', 'Withdrawn')], max_length=12)),
                ('sentence', models.TextField()),
                ('evidence', models.JSONField(blank=True, default=dict)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('candidacy', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='decisions', to='evaluation.candidacy')),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='decisions', to='annotate.project')),
                ('rule', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='decisions', to='evaluation.promotionrule')),
            ],
            options={
                'ordering': ['-id'],
            },
        ),
        migrations.CreateModel(
            name='VoteCounts',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('judge', models.CharField(max_length=10)),
                ('part', models.CharField(blank=True, choices=[('', 'all'), ('category', 'Category'), ('language', 'Language')], default='', max_length=8)),
                ('name', models.CharField(blank=True, help_text='Which category or language; empty for all.', max_length=60)),
                ('model_ids', models.JSONField(default=list, help_text='Ids of language models, in the order of the cells.')),
                ('cells', models.BinaryField(help_text='How often A was i, B was j and the label k: compressed (M, M, 4) int64.')),
                ('votes', models.BigIntegerField(default=0)),
                ('left_out', models.JSONField(default=dict, help_text='How many do not count, by status.')),
                ('spread', models.JSONField(default=dict, help_text='How votes were spread over voters when that was last read.')),
                ('last_comparison_id', models.BigIntegerField(default=0)),
                ('last_status_change_id', models.BigIntegerField(default=0)),
                ('state', models.CharField(help_text='Another one after each change.', max_length=32)),
                ('changed_at', models.DateTimeField()),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='vote_counts', to='annotate.project')),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('project', 'judge', 'part', 'name'), name='one_count_of_the_same_votes')],
            },
        ),
        migrations.CreateModel(
            name='AskedAgain',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('places', models.PositiveIntegerField(help_text='Judges in all, those who have judged it before included.')),
                ('is_open', models.BooleanField(default=True)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('completion_a', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='annotate.completion')),
                ('completion_b', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='annotate.completion')),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='asked_again', to='annotate.project')),
                ('prompt', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='annotate.prompt')),
            ],
            options={
                'ordering': ['-id'],
                'indexes': [models.Index(fields=['project', 'is_open'], name='evaluation__project_7a2227_idx')],
            },
        ),
    ]
