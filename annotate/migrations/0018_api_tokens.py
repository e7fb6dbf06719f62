"""API tokens of which only a hash is kept. Those that stood in plain text go on working, for 90 days from now."""

import hashlib
from datetime import timedelta

import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

OLD = "authtoken_token"  # of rest_framework.authtoken, which is no longer an app of this site
DAYS = 90


def hash_standing(apps, schema_editor):
    """Take over each token as its hash, and delete the plain text."""
    connection = schema_editor.connection
    if OLD not in connection.introspection.table_names():
        return
    ApiToken, User = apps.get_model("annotate", "ApiToken"), apps.get_model("annotate", "User")
    expires_at = django.utils.timezone.now() + timedelta(days=DAYS)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT key, user_id FROM {OLD}")
        rows = cursor.fetchall()
        people = set(User.objects.filter(pk__in=[user for _, user in rows]).values_list("pk", flat=True))
        ApiToken.objects.bulk_create(
            ApiToken(
                user_id=user,
                name="made before tokens had names",
                scope="manage",
                prefix=key[:8],
                secret_hash=hashlib.sha256(key.encode()).hexdigest(),
                expires_at=expires_at,
            )
            for key, user in rows
            if user in people
        )
        cursor.execute(f"DELETE FROM {OLD}")


class Migration(migrations.Migration):
    dependencies = [("annotate", "0017_project_sampling")]

    operations = [
        migrations.CreateModel(
            name="ApiToken",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=60)),
                (
                    "scope",
                    models.CharField(
                        choices=[
                            ("read", "Read"),
                            ("judge", "Judge"),
                            ("research", "Research"),
                            ("manage", "Everything"),
                        ],
                        max_length=10,
                    ),
                ),
                (
                    "prefix",
                    models.CharField(help_text="How it begins, so that its owner knows it again.", max_length=12),
                ),
                ("secret_hash", models.CharField(max_length=64, unique=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("expires_at", models.DateTimeField()),
                ("last_used_at", models.DateTimeField(blank=True, help_text="To the hour.", null=True)),
                ("revoked_at", models.DateTimeField(blank=True, null=True)),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="api_tokens",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={"ordering": ["-id"]},
        ),
        migrations.RunPython(hash_standing, migrations.RunPython.noop),
    ]
