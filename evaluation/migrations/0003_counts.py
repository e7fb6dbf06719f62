from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("evaluation", "0002_figures_counts_and_decisions")]
    operations: list = []
