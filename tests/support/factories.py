"""Small builders for tests: each makes one valid row, with every field open to a keyword.

    project = make_project()
    user = make_user(project, role="manager")
    a, b = make_pair(project)

Rows are made directly, not through actions, so that a test of one action does not depend on another.
"""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

from django.test import Client
from django.utils import timezone

from annotate.models import (
    ApiToken,
    Assignment,
    Comparison,
    Completion,
    Contestant,
    Guideline,
    LanguageModel,
    Membership,
    Project,
    Prompt,
    Rating,
    Scale,
    User,
)
from annotate.models.tokens import token_hash
from common import splits

PASSWORD = "a long enough passphrase"
_numbers = itertools.count(1)


def make_project(**fields: Any) -> Project:
    n = next(_numbers)
    return Project.objects.create(**{"slug": f"project-{n}", "name": f"Project {n}", "is_public": True, **fields})


def make_user(project: Project | None = None, *, role: str = "annotator", **fields: Any) -> User:
    """A person with PASSWORD; a member of `project` in `role`, when a project is given."""
    user = User(**{"username": f"person-{next(_numbers)}", **fields})
    user.set_password(PASSWORD)
    user.save()
    if project is not None:
        Membership.objects.create(project=project, user=user, role=role)
    return user


def sign_in(client: Client, project: Project, role: str) -> User:
    """Return a new member in `role`, whom the client is signed in as."""
    user = make_user(project, role=role)
    client.force_login(user)
    return user


def make_token(user: User, scope: str = "manage", **fields: Any) -> str:
    """A live token of the person; what is returned is its secret."""
    secret = f"assay_token-{next(_numbers)}-of-{user.username}"
    now = timezone.now()
    common = {"prefix": secret[:12], "secret_hash": token_hash(secret), "last_used_at": now}
    given = {"name": "test", "scope": scope, "expires_at": now + timedelta(days=1), **common, **fields}
    ApiToken.objects.create(user=user, **given)
    return secret


def make_guideline(project: Project, text: str = "Prefer the true one.", **fields: Any) -> Guideline:
    version = project.guidelines.count() + 1
    return Guideline.objects.create(**{"project": project, "version": version, "text": text, **fields})


def make_model(**fields: Any) -> LanguageModel:
    n = next(_numbers)
    return LanguageModel.objects.create(
        **{"name": f"model-{n}", "folder": f"models/model-{n}", "is_shared": True, **fields}
    )


def make_contestant(project: Project, model: LanguageModel | None = None) -> Contestant:
    return Contestant.objects.create(project=project, model=model or make_model())


def make_prompt(project: Project, text: str | None = None, *, side: str = splits.TRAIN, **fields: Any) -> Prompt:
    """A prompt on the side asked for, whatever side its text would have been given."""
    messages = fields.pop("messages", None) or [
        {"role": "user", "content": text or f"Question {next(_numbers)}: why is the sky blue?"}
    ]
    return Prompt.objects.create(
        **{
            "project": project,
            "messages": messages,
            "text_hash": splits.text_hash(messages),
            "side": side,
            **fields,
        }
    )


def make_completion(prompt: Prompt, text: str | None = None, *, model: LanguageModel | None = None, **fields: Any):
    """An answer by `model`, or by a new model."""
    text = f"Answer {next(_numbers)}." if text is None else text
    return Completion.objects.create(**{"prompt": prompt, "model": model or make_model(), "text": text, **fields})


def make_pair(project: Project, *, side: str = splits.TRAIN) -> tuple[Completion, Completion]:
    """Two different answers to a new prompt."""
    prompt = make_prompt(project, side=side)
    return make_completion(prompt), make_completion(prompt)


def make_assignment(user: User, completion: Completion, other: Completion | None = None, **fields: Any) -> Assignment:
    """A live one: to rate `completion`, or to compare it, as A, with `other`."""
    ids = sorted(c.pk for c in (completion, other) if c is not None)
    kind = "rate" if other is None else "compare"
    return Assignment.objects.create(
        **{
            "project": completion.prompt.project,
            "user": user,
            "kind": kind,
            "prompt": completion.prompt,
            "completion_a": completion,
            "completion_b": other,
            "item": ":".join([kind, *map(str, ids)]),
            "expires_at": timezone.now() + timedelta(minutes=30),
            **fields,
        }
    )


def make_rank_assignment(user: User, *completions: Completion, **fields: Any) -> Assignment:
    """A live one: to rank these, shown in this order."""
    item = ":".join(["rank", *map(str, sorted(c.pk for c in completions))])
    return _live(user, completions[0].prompt, "rank", item, shown=[c.pk for c in completions], **fields)


def make_write_assignment(user: User, prompt: Prompt, **fields: Any) -> Assignment:
    return _live(user, prompt, "write", f"write:{prompt.pk}", **fields)


def _live(user: User, prompt: Prompt, kind: str, item: str, **fields: Any) -> Assignment:
    expires_at = timezone.now() + timedelta(minutes=30)
    return Assignment.objects.create(
        **{"project": prompt.project, "user": user, "kind": kind, "prompt": prompt, "item": item},
        **{"expires_at": expires_at, **fields},
    )


def make_scale(project: Project, kind: str, name: str, **fields: Any) -> Scale:
    return Scale.objects.create(**{"project": project, "kind": kind, "name": name, "title": name.title(), **fields})


def make_rating(completion: Completion, author: User | None = None, **fields: Any) -> Rating:
    given = {"thumbs", "stars", "aspects"} & fields.keys()
    return Rating.objects.create(
        **{**_judgement(completion, author), "completion": completion, **({} if given else {"stars": 4}), **fields}
    )


def make_comparison(a: Completion, b: Completion, winner: str = "model_a", author: User | None = None, **fields: Any):
    return Comparison.objects.create(
        **{**_judgement(a, author), "completion_a": a, "completion_b": b, "winner": winner, **fields}
    )


def _judgement(completion: Completion, author: User | None) -> dict[str, Any]:
    """What all feedback carries. The annotator is the author's kind, as the actions have it."""
    author = author or make_user()
    return {
        "project": completion.prompt.project,
        "prompt": completion.prompt,
        "author": author,
        "judge": "simulation" if author.is_simulated else "person",
    }
