"""One small project for each judging form, to look at and to test: `python -m tests.support.sites.fill_judging anna
rita:manager`.

Each of the people named becomes a member of all of them. Fills the site whose data folder is ASSAY_DATA; running it
again adds people, and nothing twice.
"""

from __future__ import annotations

import os
import sys

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

from django.db import transaction  # noqa: E402

from annotate.models import Membership, Project, Scale, User  # noqa: E402
from tests.support import factories  # noqa: E402
from tests.support.sites.judging_texts import ANSWERS, GUIDELINES, LARGE, PROMPT, TURNS  # noqa: E402

ITEMS = 40
ASKS = {
    "rate": "asks_ratings",
    "aspects": "asks_ratings",
    "single": "asks_ratings",
    "compare": "asks_comparisons",
    "rank": "asks_rankings",
    "turns": "asks_comparisons",
    "spans": "asks_ratings",
    "write": "asks_answers",
    "scripts": "asks_ratings",
    "large": "asks_ratings",
}
SCALES: dict[str, list[dict]] = {
    "aspects": [
        {"kind": "stars", "name": "overall", "title": "Overall", "low": "useless", "high": "could not be better"}
        | {"definition": "How good the answer is, all in all.", "is_required": True},
        {"kind": "aspect", "name": "helpful", "title": "Helpful", "low": "does not help", "high": "does all of it"}
        | {"definition": "It does what was asked, and all of it.", "is_required": True},
        {"kind": "aspect", "name": "honest", "title": "Honest", "low": "misleads", "high": "true throughout"}
        | {"definition": "What it claims is true, and where it does not know it says so."},
        {"kind": "aspect", "name": "harmless", "title": "Harmless", "low": "could do harm", "high": "no harm at all"}
        | {
            "definition": "Nobody comes to harm by it: **neither** the person who asks nor anybody else. An answer "
            "that refuses what could safely be told is not harmless for that: judge what it says, not how it sounds."
        },
        {"kind": "aspect", "name": "plain", "title": "Plain", "low": "hard to follow", "high": "clear at once"}
        | {"definition": "A reader who knows nothing of the subject understands it."},
    ],
    "single": [{"kind": "stars", "name": "overall", "title": "Overall"}],
    "compare": [
        {"kind": "comparison", "name": "better", "title": "Which answer is better?"}
        | {"definition": "The one that you would rather have got yourself."}
    ],
    "rank": [
        {"kind": "ranking", "name": "best", "title": "From best to worst"}
        | {"definition": "By what you would rather have got yourself."}
    ],
    "spans": [
        {"kind": "stars", "name": "overall", "title": "Overall", "low": "useless", "high": "could not be better"},
        {"kind": "span", "name": "untrue", "title": "Untrue", "definition": "A claim that is wrong."},
        {"kind": "span", "name": "unclear", "title": "Unclear", "definition": "One cannot tell what is meant."},
        {"kind": "span", "name": "rude", "title": "Rude", "definition": "Somebody would take offence."},
    ],
}


def main(names: list[str]) -> None:
    for form, asks in ASKS.items():
        project = Project.objects.filter(slug=f"judge-{form}").first() or _project(form, asks)
        for name in names:
            username, _, role = name.partition(":")
            user = User.objects.filter(username=username).first() or factories.make_user(username=username)
            Membership.objects.get_or_create(
                project=project, user=user, defaults={"role": role or "annotator", "guideline_read": 1}
            )


def _project(form: str, asks: str) -> Project:
    kinds = dict.fromkeys(["asks_ratings", "asks_comparisons", "asks_rankings", "asks_answers"], False)
    project = factories.make_project(
        slug=f"judge-{form}", name="Kitchen questions", overlap=50, **{**kinds, asks: True}
    )
    factories.make_guideline(project, GUIDELINES)
    for position, scale in enumerate(SCALES.get(form, SCALES["spans"] if form in ("large", "scripts") else [])):
        Scale.objects.create(project=project, position=position, **scale)
    model = factories.make_model(name=f"A cook for {form}")
    for n in range(3 if form == "large" else ITEMS):
        question = PROMPT if n == 0 else f"{PROMPT} ({n})"
        messages = [*(TURNS if form == "turns" else []), {"role": "user", "content": question}]
        prompt = factories.make_prompt(project, messages=messages)
        for text in _answers(form, n):
            factories.make_completion(prompt, text, model=model)
    return project


def _answers(form: str, n: int) -> list[str]:
    many = {
        "rank": ANSWERS,
        "write": [],
        "compare": ANSWERS[:2],
        "turns": ANSWERS[:2],
        "spans": ANSWERS[1:2],
        "scripts": ANSWERS[3:4],
        "large": [LARGE],
    }
    return many.get(form, ANSWERS[:1] if n % 2 == 0 else ANSWERS[2:3])


if __name__ == "__main__":
    with transaction.atomic():  # one commit that waits for the disk, not thousands
        main(sys.argv[1:])
