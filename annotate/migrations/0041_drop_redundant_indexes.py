import django.db.models.deletion
from django.db import migrations, models

from annotate.core.db.postgres.drop_alongside import DropFieldIndexAlongside

_FEEDBACK = ("attack", "comparison", "demonstration", "flag", "ranking", "rating", "span")


class Migration(migrations.Migration):
    # Two other indexes of a prompt begin with its project; nobody asks for the beginning of an annotation's key.
    atomic = False

    dependencies = [
        ("annotate", "0040_prompt_answer"),
    ]

    operations = [
        DropFieldIndexAlongside(
            model_name="prompt",
            name="project",
            field=models.ForeignKey(
                db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name="prompts", to="annotate.project"
            ),
        ),
        *[DropFieldIndexAlongside(model_name=name, name="idempotency_key") for name in _FEEDBACK],
    ]
