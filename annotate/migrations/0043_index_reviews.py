from django.db import migrations, models

from annotate.core.db.postgres.index_alongside import AddIndexAlongside


class Migration(migrations.Migration):
    # Few of millions: the page of reviews read all assignments of a project to find them.
    atomic = False

    dependencies = [
        ("annotate", "0042_narrow_sparse_indexes"),
    ]

    operations = [
        AddIndexAlongside(
            model_name="assignment",
            index=models.Index(
                condition=models.Q(("is_review", True)), fields=["project", "item"], name="reviews_of_a_project"
            ),
        ),
    ]
