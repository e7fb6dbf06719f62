import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


def queue_all(apps, schema_editor):
    """Whatever stands is put into the queue by whoever hands out next."""
    Prompt, QueueChange = apps.get_model("annotate", "Prompt"), apps.get_model("annotate", "QueueChange")
    for project in Prompt.objects.order_by().values_list("project", flat=True).distinct():
        prompts = list(Prompt.objects.filter(project=project, side="train").order_by("pk").values_list("pk", flat=True))
        parts = [prompts[at : at + 200] for at in range(0, len(prompts), 200)]
        QueueChange.objects.bulk_create(QueueChange(project_id=project, prompts=part) for part in parts)


class Migration(migrations.Migration):
    dependencies = [("annotate", "0009_judging")]

    operations = [
        migrations.CreateModel(
            name='ItemPriority',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.CharField(help_text='As an assignment has it.', max_length=8)),
                ('item', models.CharField(max_length=140)),
                ('uncertainty', models.FloatField(help_text='1: a coin would do as well; 0: quite sure.')),
                ('why', models.CharField(max_length=200)),
                ('is_open', models.BooleanField(default=True, help_text='Not yet judged as often as the project asks for.')),
            ],
        ),
        migrations.CreateModel(
            name='QueueChange',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('prompts', models.JSONField()),
            ],
        ),
        migrations.CreateModel(
            name='QueueEntry',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.CharField(help_text='As an assignment has it.', max_length=8)),
                ('items', models.PositiveIntegerField()),
                ('level', models.FloatField(default=0.0)),
                ('level_simulated', models.FloatField(default=0.0)),
                ('lot', models.FloatField(help_text='Random, drawn anew at each change: no two judges walk in one order.')),
            ],
        ),
        migrations.CreateModel(
            name='SideCount',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('first', models.BigIntegerField(help_text='The smaller id of the two models; 0 for an unknown one.')),
                ('second', models.BigIntegerField()),
                ('lead', models.IntegerField()),
            ],
        ),
        migrations.AddField(
            model_name='membership',
            name='gold_since',
            field=models.DateTimeField(blank=True, help_text='Known answers from then on are looked at.', null=True),
        ),
        migrations.AddField(
            model_name='membership',
            name='notice',
            field=models.TextField(blank=True, help_text='Markdown that they must read before the next item.'),
        ),
        migrations.AddField(
            model_name='membership',
            name='warned_at',
            field=models.DateTimeField(blank=True, help_text='Since then too many known answers are a pause.', null=True),
        ),
        migrations.AddField(
            model_name='prompt',
            name='out_reason',
            field=models.CharField(blank=True, max_length=200),
        ),
        migrations.AddField(
            model_name='prompt',
            name='out_since',
            field=models.DateTimeField(blank=True, help_text='Nobody is asked about it any more.', null=True),
        ),
        migrations.AddField(
            model_name='prompt',
            name='reviewed_at',
            field=models.DateTimeField(blank=True, help_text='When a reviewer last took it out or kept it.', null=True),
        ),
        migrations.AddField(
            model_name='prompt',
            name='reviewed_by',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AlterField(
            model_name='assignment',
            name='state',
            field=models.CharField(choices=[('open', 'Open'), ('submitted', 'Submitted'), ('skipped', 'Skipped'), ('expired', 'Expired'), ('excluded', 'Excluded'), ('taken out', 'Taken Out')], default='open', max_length=10),
        ),
        migrations.AddIndex(
            model_name='assignment',
            index=models.Index(fields=['user', 'kind', 'prompt'], name='served_to_a_person'),
        ),
        migrations.AddIndex(
            model_name='assignment',
            index=models.Index(fields=['prompt', 'kind'], name='places_of_a_prompt'),
        ),
        migrations.AddIndex(
            model_name='assignment',
            index=models.Index(condition=models.Q(('state', 'open')), fields=['project', 'expires_at'], name='what_runs_out'),
        ),
        migrations.AddField(
            model_name='itempriority',
            name='project',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='annotate.project'),
        ),
        migrations.AddField(
            model_name='itempriority',
            name='prompt',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='annotate.prompt'),
        ),
        migrations.AddField(
            model_name='queuechange',
            name='project',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='annotate.project'),
        ),
        migrations.AddField(
            model_name='queueentry',
            name='project',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='annotate.project'),
        ),
        migrations.AddField(
            model_name='queueentry',
            name='prompt',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='annotate.prompt'),
        ),
        migrations.AddField(
            model_name='sidecount',
            name='project',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='annotate.project'),
        ),
        migrations.AddField(
            model_name='sidecount',
            name='user',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddIndex(
            model_name='itempriority',
            index=models.Index(fields=['project', 'kind', 'is_open', '-uncertainty'], name='most_uncertain_first'),
        ),
        migrations.AddConstraint(
            model_name='itempriority',
            constraint=models.UniqueConstraint(fields=('project', 'item'), name='an_item_has_one_priority'),
        ),
        migrations.AddIndex(
            model_name='queueentry',
            index=models.Index(fields=['project', 'kind', 'level', 'lot'], name='queue_of_people'),
        ),
        migrations.AddIndex(
            model_name='queueentry',
            index=models.Index(fields=['project', 'kind', 'level_simulated', 'lot'], name='queue_of_simulations'),
        ),
        migrations.AddConstraint(
            model_name='queueentry',
            constraint=models.UniqueConstraint(fields=('prompt', 'kind'), name='a_prompt_stands_once_in_a_queue'),
        ),
        migrations.AddConstraint(
            model_name='sidecount',
            constraint=models.UniqueConstraint(fields=('user', 'project', 'first', 'second'), name='sides_are_counted_once'),
        ),
        migrations.RunPython(queue_all, migrations.RunPython.noop),
    ]
