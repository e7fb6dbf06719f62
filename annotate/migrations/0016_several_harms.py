"""A prompt may be about several kinds of harm; and what came with an import of red-team data is marked as the guide says."""

from django.db import migrations, models

from common import harm_kinds as harms

AT_ONCE = 500


def mark_imported(apps, schema_editor):
    Prompt, Attack = (apps.get_model("annotate", name) for name in ("Prompt", "Attack"))
    rows = Attack.objects.filter(prompt__harm="", talk=None, prompt__source=models.F("source"))
    wanted = {}
    for prompt, tags in rows.values_list("prompt", "tags").iterator():
        wanted.setdefault(harms.of_tags(tags), []).append(prompt)
    for harm, prompts in wanted.items():
        for start in range(0, len(prompts), AT_ONCE):
            Prompt.objects.filter(pk__in=prompts[start : start + AT_ONCE]).update(harm=harm)


class Migration(migrations.Migration):
    dependencies = [("annotate", "0015_red_team")]

    operations = [
        migrations.AlterField(
            model_name="prompt",
            name="harm",
            field=models.CharField(
                blank=True, help_text="Kinds of harm in it, by name, a space between them.", max_length=250
            ),
        ),
        migrations.RunPython(mark_imported, migrations.RunPython.noop),
    ]
