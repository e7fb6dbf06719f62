from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("annotate", "0008_workbench")]

    operations = []
