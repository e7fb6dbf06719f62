from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("annotate", "0013_defence")]

    operations = []
