from django.db import migrations


def show_what_was_used(apps, schema_editor):
    """Turn the switch on where a stage before finetuning was used before it was there."""
    runs = apps.get_model("training", "Run").objects.filter(kind__in=("corpus", "tokenizer", "pretrain", "domain"))
    projects = apps.get_model("annotate", "Project").objects
    projects.filter(pk__in=runs.values("project")).update(from_scratch=True)


class Migration(migrations.Migration):
    dependencies = [("training", "0006_share_registered_models"), ("annotate", "0029_from_scratch")]

    operations = [migrations.RunPython(show_what_was_used, migrations.RunPython.noop)]
