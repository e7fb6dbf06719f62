"""Have the model answer the train prompts, the third of five steps to a trained child (docs/guides/first-model.md).

manage.py sample_completions --project everyday --completions-per-prompt 4
"""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from annotate.core.command_arguments import person_named, project_named, refusals_told
from evaluation.first_model import actions, present
from evaluation.first_model.facts import path_of
from evaluation.first_model.run_following import follow


class Command(BaseCommand):
    help = "Freeze the train prompts, and have the project's model answer them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--project", required=True, help="the project's slug")
        parser.add_argument("--completions-per-prompt", type=int, default=actions.COMPLETIONS_PER_PROMPT)
        parser.add_argument("--max-new-tokens", type=int, help="the longest answer (default: as the project says)")
        parser.add_argument("--queue", action="store_true", help="do not wait for the run")
        parser.add_argument("--by", default="", help="username of a researcher (default: the first superuser)")

    def handle(self, *, project: str, by: str, queue: bool, **options: Any) -> None:
        where, user = project_named(project), person_named(by, "researcher")
        completions, length = options["completions_per_prompt"], options["max_new_tokens"]
        with refusals_told():
            run = actions.sample_answers(
                project=where, by=user, completions_per_prompt=completions, max_new_tokens=length, waits=True
            )
        assert run is not None
        size = present.sampling_size(path_of(where), completions, run.config["max_new_tokens"])
        self.stdout.write(f"Queued {run}: {size['answers']:,} answers, {size['time']}, {size['basis']}.")
        if not queue:
            self.stdout.write(f"{follow(run, self.stdout.write).completions.count():,} answers are here.")
