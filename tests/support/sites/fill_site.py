"""Fills a site for tests of the whole, in a process of its own. Prints what it made.

python -m tests.support.sites.fill_site
"""

from __future__ import annotations

import json
import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

from django.conf import settings  # noqa: E402
from django.db import transaction  # noqa: E402

from annotate.data.datasets.actions import freeze  # noqa: E402
from annotate.models import Battle, Completion, LanguageModel, Project, Prompt  # noqa: E402
from tests.support import factories  # noqa: E402
from tests.support.tiny_model import make_elsewhere  # noqa: E402

WINS, TIES, LOSSES = 30, 10, 10


def main() -> dict[str, object]:
    project = factories.make_project(slug="everyday", name="Everyday questions", overlap=1)
    factories.make_guideline(project, "Prefer the **plain** answer.")
    for username, role in (("anna", "annotator"), ("ben", "annotator"), ("rita", "manager")):
        factories.make_user(project, role=role, username=username)
    project.memberships.update(guideline_read=1)
    models = [_model(project, name, seed) for seed, name in enumerate(("Heron", "Kestrel"))]
    for n in range(12):
        prompt = factories.make_prompt(project, f"Everyday question {n}?")
        for i in range(3):
            factories.make_completion(prompt, f"A plain answer {n}.{i}.", model=models[0])
    _votes(project, models)
    dataset = freeze(project=project, kind="prompts", name="train prompts", by=None)
    in_dataset = Prompt.objects.filter(project=project, side="train").count()
    return {"project": project.slug, "models": [m.pk for m in models], "dataset": dataset.pk, "in_dataset": in_dataset}


def _model(project: Project, name: str, seed: int) -> LanguageModel:
    folder = f"models/{name.lower()}"
    make_elsewhere(settings.DATA_DIR / folder, seed)
    model = factories.make_model(name=name, folder=folder)
    factories.make_contestant(project, model)
    return model


def _votes(project: Project, models: list[LanguageModel]) -> None:
    """People's votes in the eval split: the first model leads."""
    voters = [factories.make_user(project) for _ in range(5)]
    winners = ["model_a"] * WINS + ["tie"] * TIES + ["model_b"] * LOSSES
    for n, winner in enumerate(winners):
        prompt = factories.make_prompt(project, f"What is asked to rank, {n}?", side="eval")
        a, b = (Completion.objects.create(prompt=prompt, model=m, text=f"Said {m.pk}.") for m in models)
        battle = Battle.objects.create(
            project=project, prompt=prompt, model_a=models[0], model_b=models[1], completion_a=a, completion_b=b
        )
        factories.make_comparison(a, b, winner, voters[n % 5], battle=battle)


if __name__ == "__main__":
    with transaction.atomic():  # one commit that waits for the disk, not hundreds
        made = main()
    print(json.dumps(made))
