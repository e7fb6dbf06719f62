"""The rows of the site of `contract`: the sample project, one of everything, and a person of each role.

    ASSAY_DATA=FOLDER python -m benchmarks.contract_rows ROWS.json

Prints {role: token} and writes for `contract_hooks` which rows an address or a field may name.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import django

SLUG = "sample"
# What `one_of_everything` calls it, by the address of the list that it is in; the words that name it elsewhere.
LISTS = {
    "assignments": "assignment", "battles": "battle", "comparisons": "comparison", "completions": "completion",
    "datasets": "dataset", "demonstrations": "demonstration", "flags": "flag", "imports": "import", "models": "model",
    "prompts": "prompt", "rankings": "ranking", "ratings": "rating", "runs": "run", "evaluations": "run",
    "spans": "span", "talks": "talk", "webhooks": "webhook", "auth/tokens": "token",
    "projects/{slug}/alerts": "alert", "projects/{slug}/attacks": "attack", "projects/{slug}/complaints": "prompt",
    "projects/{slug}/disagreements": "key", "projects/{slug}/exclusions": "exclusion",
    "projects/{slug}/gold": "gold", "projects/{slug}/invitations": "invitation",
    "projects/{slug}/packages": "package", "projects/{slug}/quality/judges": "owner", "projects/{slug}/scales": "scale",
}  # fmt: skip
FIELDS = {
    "model": "models", "model_a": "models", "parent": "models", "reward_model": "models", "prompt": "prompts",
    "completion": "completions", "completion_a": "completions", "completion_b": "completions", "dataset": "datasets",
    "other_dataset": "datasets", "run": "runs", "item": "projects/{slug}/disagreements",
    "person": "projects/{slug}/quality/judges", "package": "projects/{slug}/packages",
}  # fmt: skip
MOST = 10  # of the sample's own rows, beside the one of everything


def rows_of(made: dict[str, Any]) -> dict[str, list[Any]]:
    """Return the values that stand for each list and each field."""
    from annotate.models import Completion, LanguageModel, Prompt
    from training.models import Run

    of_sample = {"models": LanguageModel, "prompts": Prompt, "completions": Completion, "runs": Run}
    rows: dict[str, list[Any]] = {}
    for address, name in LISTS.items():
        row = made[name]
        values = [getattr(row, "token", None) or getattr(row, "pk", row)]
        if address in of_sample:
            values += of_sample[address].objects.exclude(pk=row.pk).order_by("pk").values_list("pk", flat=True)[:MOST]
        rows[f"/api/v1/{address}/"] = values
    rows |= {field: rows[f"/api/v1/{address}/"] for field, address in FIELDS.items()}
    return rows | {"slug": [SLUG], "project": [SLUG], "username": [made["owner"].username]}


def main(target: Path) -> None:
    django.setup()
    from django.core.management import call_command

    from annotate.models import Project, Role
    from tests.support.everything import one_of_everything
    from tests.support.factories import make_token, make_user

    call_command("load_sample", stdout=sys.stderr)
    project = Project.objects.get(slug=SLUG)
    target.write_text(json.dumps(rows_of(one_of_everything(project)), default=str), encoding="utf-8")
    people = {role: make_user(project, role=role) for role in Role.values}
    people |= {"staff": make_user(is_staff=True), "stranger": make_user()}
    print(json.dumps({role: make_token(person) for role, person in people.items()}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
