"""A worker as a process of its own that knows the fake recipe.

python -m tests.support.training.worker_process [--once]
"""

import os
import sys

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

if __name__ == "__main__":
    import django

    django.setup()

    from django.core.management import call_command

    from tests.support.training.runs import register_fake

    register_fake()
    call_command("run_worker", *sys.argv[1:])
