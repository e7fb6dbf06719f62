from django.db import migrations, models

from annotate.core.db.postgres.index_alongside import AddIndexAlongside


class Migration(migrations.Migration):
    # Few of millions: the page of gold items read all assignments of a project to find them.
    atomic = False

    dependencies = [
        ("annotate", "0043_index_reviews"),
    ]

    operations = [
        AddIndexAlongside(
            model_name="assignment",
            index=models.Index(
                condition=models.Q(("purpose", "gold")), fields=["project", "user"], name="gold_of_a_project"
            ),
        ),
    ]
