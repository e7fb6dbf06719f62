"""Adds to a site a project with enough votes for a reward model and nothing frozen, in a process of its own.

python -m tests.support.sites.fill_votes
"""

from __future__ import annotations

import json
import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

from django.conf import settings  # noqa: E402
from django.db import transaction  # noqa: E402

from annotate.models import User  # noqa: E402
from tests.support import factories  # noqa: E402
from tests.support.tiny_model import make_elsewhere  # noqa: E402

PROMPTS, LIKED, DISLIKED = 44, ("Yes, the sea.", "Yes, the moon."), ("No.", "Never.")


def main() -> dict[str, object]:
    """Of each prompt two people prefer an answer that says yes to one that says no: a taste that is easily learnt."""
    project = factories.make_project(slug="voted", name="Voted on")
    project.memberships.create(user=User.objects.get(username="rita"), role="manager", guideline_read=0)
    make_elsewhere(settings.DATA_DIR / "models" / "voted", seed=3)
    model = factories.make_model(name="Avocet", folder="models/voted")
    factories.make_contestant(project, model)
    voters = [factories.make_user(project) for _ in range(2)]
    for n in range(PROMPTS):
        prompt = factories.make_prompt(project, f"What moves the tide, {n}?")
        for voter, yes, no in zip(voters, LIKED, DISLIKED, strict=True):
            answers = [factories.make_completion(prompt, text, model=model) for text in (yes, no)]
            factories.make_comparison(*answers, "model_a", voter)
    return {"project": project.slug, "model": model.pk}


if __name__ == "__main__":
    with transaction.atomic():
        made = main()
    print(json.dumps(made))
