"""What the operator has registered is everybody's; what a researcher has registered is of the project they research in."""

from django.db import migrations

RESEARCH = ("researcher", "manager")


def place_registered(apps, schema_editor):
    """Share models of commands and staff, and give those of researchers a project. A run's model has its run's."""
    LanguageModel, Run = apps.get_model("annotate", "LanguageModel"), apps.get_model("training", "Run")
    Membership = apps.get_model("annotate", "Membership")
    made = Run.objects.exclude(output_model=None).values("output_model")
    for model in LanguageModel.objects.exclude(pk__in=made).select_related("created_by").iterator():
        if model.created_by is None or model.created_by.is_staff:
            model.is_shared = True
        else:
            mine = Membership.objects.filter(user=model.created_by, role__in=RESEARCH).order_by("pk").first()
            model.project_id = mine.project_id if mine else None
        model.save(update_fields=["is_shared", "project"])


class Migration(migrations.Migration):
    dependencies = [("training", "0005_clones_and_remedies"), ("annotate", "0021_model_tenancy")]

    operations = [migrations.RunPython(place_registered, migrations.RunPython.noop)]
