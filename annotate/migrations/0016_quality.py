from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("annotate", "0015_red_team")]

    operations = []
