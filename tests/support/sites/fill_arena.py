"""An arena whose models a test's own model server speaks for. Prints what it made.

python -m tests.support.sites.fill_arena
"""

from __future__ import annotations

import json
import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

from tests.support import factories  # noqa: E402


def main() -> dict[str, object]:
    project = factories.make_project(slug="everyday", name="Everyday questions")
    for name in ("Heron", "Kestrel"):
        factories.make_contestant(project, factories.make_model(name=name, folder=f"models/{name.lower()}"))
    prompt = factories.make_prompt(project, "What is a lighthouse for?", side="eval")
    for contestant in project.contestants.select_related("model"):
        factories.make_completion(
            prompt, f"It warns ships, **in short**.\n\n- says {contestant.pk}", model=contestant.model
        )
    return {"project": project.slug}


if __name__ == "__main__":
    print(json.dumps(main()))
