"""Make what the demo starts from: a project with its guidelines, its prompts, and one account to look around with.

Everything is found or made, so that seeding twice changes nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from annotate.data.prompts import actions as prompts
from annotate.models import Project, Role, User
from annotate.projects import actions as projects
from annotate.simulation import accounts
from annotate.simulation.session import Account

RESEARCHER = "demo"
PROMPTS = Path(__file__).with_name("prompts.jsonl")
GUIDELINES = """\
You read short answers of a small language model to everyday questions.

- **Annotate the answer, not the question.** A plain answer that helps beats a long one that wanders.
- A *tie* means that you would not mind which of the two you got. *Both bad* means that you would want neither.
- Skip what you cannot annotate, and say why.
- An answer may stop in mid-sentence: the model was given a limited length. Annotate what is there.
"""


@dataclass(frozen=True)
class Seeded:
    project: Project
    researcher: User
    account: Account


def seed(*, slug: str, name: str, max_new_tokens: int, most_prompts: int | None = None) -> Seeded:
    """Find or make the project, its account and its prompts, the first `most_prompts` of them; a project that is made
    has answers of that length."""
    account = accounts.kept(RESEARCHER, is_staff=True, is_superuser=True)
    researcher = User.objects.get(username=RESEARCHER)
    project = Project.objects.filter(slug=slug).first() or projects.create_project(
        slug=slug,
        name=name,
        by=researcher,
        guidelines=GUIDELINES,
        is_public=True,  # whoever starts the demo looks at it before they sign in
        max_new_tokens=max_new_tokens,
        from_scratch=True,
        description="Everyday questions, a small language model, and annotations that change it.",
    )
    projects.add_member(project=project, user=researcher, role=Role.MANAGER, by=None)
    prompts.add_prompts(project=project, rows=own_prompts()[:most_prompts], by=researcher)
    return Seeded(project, researcher, account)


def own_prompts() -> list[prompts.NewPrompt]:
    """Return the prompts that were written for this project."""
    rows = [json.loads(line) for line in PROMPTS.read_text(encoding="utf-8").splitlines()]
    return [
        prompts.NewPrompt([{"role": "user", "content": row["text"]}], category=row["category"], source="demo")
        for row in rows
    ]
