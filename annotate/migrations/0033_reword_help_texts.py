import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('annotate', '0032_prompt_language'),
    ]

    operations = [
        migrations.AlterField(
            model_name='attack',
            name='source_judge',
            field=models.CharField(blank=True, help_text="Of an import: the annotator's name in its file.", max_length=120),
        ),
        migrations.AlterField(
            model_name='battle',
            name='spoilt_reason',
            field=models.CharField(blank=True, help_text='Nobody can vote: one of the two answers failed.', max_length=200),
        ),
        migrations.AlterField(
            model_name='battleturn',
            name='spoilt_reason',
            field=models.CharField(blank=True, help_text='One of the two answers failed: the turn is left out.', max_length=200),
        ),
        migrations.AlterField(
            model_name='comparison',
            name='source_judge',
            field=models.CharField(blank=True, help_text="Of an import: the annotator's name in its file.", max_length=120),
        ),
        migrations.AlterField(
            model_name='completion',
            name='reasoning',
            field=models.TextField(blank=True, help_text='What the model thought before it; no annotator or model reads it.'),
        ),
        migrations.AlterField(
            model_name='dataset',
            name='judge',
            field=models.CharField(blank=True, help_text='person or simulation; empty where nobody annotated.', max_length=10),
        ),
        migrations.AlterField(
            model_name='demonstration',
            name='source_judge',
            field=models.CharField(blank=True, help_text="Of an import: the annotator's name in its file.", max_length=120),
        ),
        migrations.AlterField(
            model_name='flag',
            name='source_judge',
            field=models.CharField(blank=True, help_text="Of an import: the annotator's name in its file.", max_length=120),
        ),
        migrations.AlterField(
            model_name='itempriority',
            name='is_open',
            field=models.BooleanField(default=True, help_text='Not yet annotated as often as the project asks for.'),
        ),
        migrations.AlterField(
            model_name='membership',
            name='warned_at',
            field=models.DateTimeField(blank=True, help_text='Since then too many missed gold items are a pause.', null=True),
        ),
        migrations.AlterField(
            model_name='project',
            name='edit_minutes',
            field=models.PositiveSmallIntegerField(default=30, help_text='How long an annotation can be changed.'),
        ),
        migrations.AlterField(
            model_name='project',
            name='gold_pass_percent',
            field=models.PositiveSmallIntegerField(default=70, help_text='Below this an annotator is warned, then paused.', validators=[django.core.validators.MaxValueValidator(100)]),
        ),
        migrations.AlterField(
            model_name='project',
            name='gold_percent',
            field=models.PositiveSmallIntegerField(default=0, help_text='Share of gold items.', validators=[django.core.validators.MaxValueValidator(50)]),
        ),
        migrations.AlterField(
            model_name='project',
            name='overlap',
            field=models.PositiveSmallIntegerField(default=1, help_text='How many people annotate the same item.', validators=[django.core.validators.MinValueValidator(1)]),
        ),
        migrations.AlterField(
            model_name='project',
            name='repeat_percent',
            field=models.PositiveSmallIntegerField(default=0, help_text='Share of comparisons repeated with swapped positions.', validators=[django.core.validators.MaxValueValidator(50)]),
        ),
        migrations.AlterField(
            model_name='project',
            name='review_percent',
            field=models.PositiveSmallIntegerField(default=0, help_text='Share of items with one annotation that are reviewed.', validators=[django.core.validators.MaxValueValidator(100)]),
        ),
        migrations.AlterField(
            model_name='queueentry',
            name='lot',
            field=models.FloatField(help_text='Random, drawn again at each change: annotators get items in different orders.'),
        ),
        migrations.AlterField(
            model_name='ranking',
            name='source_judge',
            field=models.CharField(blank=True, help_text="Of an import: the annotator's name in its file.", max_length=120),
        ),
        migrations.AlterField(
            model_name='rating',
            name='source_judge',
            field=models.CharField(blank=True, help_text="Of an import: the annotator's name in its file.", max_length=120),
        ),
        migrations.AlterField(
            model_name='scale',
            name='definition',
            field=models.TextField(blank=True, help_text='Markdown: when to choose which value. Shown beside the scale.'),
        ),
        migrations.AlterField(
            model_name='span',
            name='source_judge',
            field=models.CharField(blank=True, help_text="Of an import: the annotator's name in its file.", max_length=120),
        ),
    ]
