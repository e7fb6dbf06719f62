"""List what reward models are unsure of: pairs of the train split that their latest accuracy runs scored about alike.

The scores are those that each run kept with its items (`ask_next.scored_pairs`). Where several models scored a pair,
their mean probability counts: two that contradict each other are as unsure together as one that cannot tell.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from annotate.core.artefacts import local_copies
from annotate.labelling.queue.priorities import Uncertain, of_probability
from annotate.models import Completion, Project, Split
from common.texts import percent
from evaluation.promotion import disagreements
from training.models import Run

_AT_ONCE = 500


def of_reward_models(project: Project) -> Iterator[Uncertain]:
    foreseen: dict[tuple[int, int], list[tuple[float, str]]] = defaultdict(list)
    prompts: dict[tuple[int, int], int] = {}
    for run in disagreements.latest_accuracies(project):
        name = run.parent.name if run.parent else "a reward model"
        for prompt, low, high, p in _of_run(project, run):
            foreseen[low, high].append((p, name))
            prompts[low, high] = prompt
    for pair, opinions in foreseen.items():
        mean = sum(p for p, _ in opinions) / len(opinions)
        text = "; ".join(f"{name} gives {percent(p)} to one answer" for p, name in opinions[:3])
        yield Uncertain(prompts[pair], pair, of_probability(mean), text)


def _of_run(project: Project, run: Run) -> Iterator[tuple[int, int, int, float]]:
    """Yield (prompt, smaller id, larger id, probability of the smaller) of pairs that stand in this project's train
    split."""
    pairs = disagreements.scored_pairs(local_copies.bring_file(run.path / "items.jsonl"))
    for start in range(0, len(pairs), _AT_ONCE):
        portion = pairs[start : start + _AT_ONCE]
        rows = Completion.objects.filter(
            prompt__in={pair.prompt for pair in portion}, prompt__project=project, prompt__side=Split.TRAIN
        )
        answers = {(prompt, text): pk for prompt, text, pk in rows.values_list("prompt", "text", "pk")}
        for pair in portion:
            first, second = (answers.get((pair.prompt, text)) for text in (pair.first, pair.second))
            if first and second and first != second:
                p = pair.probability if first < second else 1 - pair.probability
                yield pair.prompt, min(first, second), max(first, second), p
