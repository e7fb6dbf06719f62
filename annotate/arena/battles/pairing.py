"""Choose the pair of a battle by what its votes would teach, the sides by lot, and something to show at once.

What a vote would teach only another app can tell; without one, the pair that has met least comes first.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from django.db.models import Count, Q, QuerySet

from annotate.arena.vote_guard import disclosed_answers
from annotate.core.errors import Refused
from annotate.core.hooks import Hook
from annotate.language_models import serving
from annotate.models import Battle, Completion, LanguageModel, Project, Prompt, Split
from annotate.models.prompts import ARENA

_lot = random.SystemRandom()  # nobody can foresee the sides
Pair = tuple[LanguageModel, LanguageModel]
# How likely each pair of these models is to meet: {frozenset of two ids: probability}; they need not sum to 1.
Weights = Callable[[Project, Sequence[LanguageModel]], Mapping[frozenset[int], float]]
PAIR_WEIGHTS: Hook[Weights] = Hook(
    "pair weights",
    "Called with a project and its contestants when a battle is drawn; returns how much a vote on each pair is worth. "
    "Without it the pair that has met least is drawn.",
    most=1,
)


@dataclass(frozen=True)
class Draw:
    """A prompt for a pair, with completions of both models when they were sampled in bulk before."""

    prompt: Prompt
    completions: tuple[Completion, Completion] | None
    is_drawn: bool = False


def contestants(project: Project) -> list[LanguageModel]:
    """Return the models that can be drawn in the arena now: entered, not left, not retired."""
    models = LanguageModel.objects.available().policies()
    return list(models.filter(contests__project=project, contests__left_at=None).order_by("pk"))


def served_contestants(project: Project) -> list[LanguageModel]:
    """Return the contestants that can answer now. Asks the model server; call it outside of transactions."""
    return serving.served_of(contestants(project))


def answering_contestants(project: Project) -> list[LanguageModel]:
    """Return the served contestants without those whose server is known to be down."""
    return serving.answering(contestants(project))


def choose_pair(project: Project, served: Sequence[LanguageModel] | None = None) -> Pair:
    """Return two models in random order, A first, drawn by the registered weights. 409 when there are fewer than two.

    `served` are those of `served_contestants`, for a battle whose answers have yet to be written.
    """
    models = contestants(project)
    if served is not None and len(models) >= 2:
        models = [model for model in models if model in served]
        if len(models) < 2:
            raise Refused(
                409,
                arena="A battle needs two models that answer now, but too few of them have a server. Draw a "
                "question that has stored answers. Researchers see on each model's page whether it is served.",
            )
    if len(models) < 2:
        raise Refused(
            409,
            arena=f"A battle needs two models, and {project.name} has {len(models)}; enter another model under Models.",
        )
    return _choose(project, models, list(combinations(models, 2)))


def choose_stored_pair(project: Project, *, is_outside: bool) -> Pair:
    """Return two models with stored answers that this person may still be shown, in random order; 409 when there are
    none.

    For a draw while too few models answer: the pair that was drawn first had no such answers.
    """
    models = contestants(project)
    stored = _stored(project, is_outside=is_outside).filter(prompt__in=_prompts(project), model__in=models)
    model_ids_by_prompt: dict[int, set[int]] = {}
    for prompt, model in stored.order_by().values_list("prompt", "model").distinct():
        model_ids_by_prompt.setdefault(prompt, set()).add(model)
    together = {frozenset(pair) for ids in model_ids_by_prompt.values() for pair in combinations(sorted(ids), 2)}
    pairs = [pair for pair in combinations(models, 2) if frozenset(model.pk for model in pair) in together]
    if pairs:
        return _choose(project, models, pairs)
    if is_outside:
        raise Refused(
            409,
            drawn="There are no stored answers left that visitors have not seen, and no two models answer now to "
            "write new ones. Your votes are kept. Try again later; members of the project can continue.",
        )
    raise Refused(
        409,
        drawn="No two models have answered the same question of the eval split, and too few models answer now. Try "
        "again later, or ask a researcher to sample answers.",
    )


def _choose(project: Project, models: list[LanguageModel], pairs: list[Pair]) -> Pair:
    a, b = _lot.choices(pairs, _weights(project, models, pairs))[0]
    return (a, b) if _lot.random() < 0.5 else (b, a)


def _weights(project: Project, models: list[LanguageModel], pairs: list[Pair]) -> list[float]:
    """Return a weight for each pair. Without registered advice all weight lies on the pairs that met least."""
    if advise := PAIR_WEIGHTS.first:
        advised = advise(project, models)
        weights = [advised.get(frozenset((a.pk, b.pk)), 0.0) for a, b in pairs]
        if sum(weights) > 0:
            return weights
    meetings = _meetings(project)
    counts = [meetings[frozenset((a.pk, b.pk))] for a, b in pairs]
    return [float(count == min(counts)) for count in counts]


def draw(project: Project, pair: Pair, own_battles: QuerySet[Battle], *, is_outside: bool) -> Draw:
    """Return an eval-split prompt, so that the vote can rank. `own_battles` are the battles this person has had.

    Prompts that both models have answered in bulk come first; among those, the ones this person has not had with
    this pair, then the ones voted on least, then by lot. `is_outside`: somebody for whom nobody vouches is shown stored
    answers that nobody outside knows, and then new ones.
    """
    prompts, stored = _prompts(project), _stored(project, is_outside=is_outside)
    return _draw_stored(prompts, stored, pair, own_battles) or _draw_new(project, prompts, own_battles)


def _prompts(project: Project) -> QuerySet[Prompt]:
    """Return the prompts that may be drawn. What a visitor asked is not shown to others: it may be private, or
    worse."""
    return Prompt.objects.filter(project=project, side=Split.EVAL, harm="", out_since=None).exclude(source=ARENA)


def can_draw(project: Project) -> bool:
    """Return whether there is a question to draw."""
    return _prompts(project).exists()


def _stored(project: Project, *, is_outside: bool) -> QuerySet[Completion]:
    stored: QuerySet[Completion] = Completion.objects.exclude(source=ARENA)
    return disclosed_answers.without_shown(stored, project) if is_outside else stored


def _draw_stored(
    prompts: QuerySet[Prompt], stored: QuerySet[Completion], pair: Pair, own_battles: QuerySet[Battle]
) -> Draw | None:
    candidates = prompts.filter(*(Q(pk__in=stored.filter(model=model).values("prompt")) for model in pair))
    of_pair = Q(battles__model_a__in=pair, battles__model_b__in=pair)
    best = (
        candidates.annotate(
            had=Count("battles", of_pair & Q(battles__in=own_battles), distinct=True),
            votes=Count("battles", of_pair & Q(battles__comparison__isnull=False), distinct=True),
        )
        .order_by("had", "votes", "?")
        .first()
    )
    if best is None:
        return None
    chosen = _choose_completions(best, stored, pair, own_battles)
    return Draw(best, chosen, is_drawn=True) if chosen is not None else None


def is_free(battle: Battle) -> bool:
    """Return whether nobody outside has been shown its stored answers; there may be none yet."""
    ids = [answer.pk for answer in (battle.completion_a, battle.completion_b) if answer is not None]
    return disclosed_answers.without_shown(Completion.objects.filter(pk__in=ids), battle.project).count() == len(ids)


def _draw_new(project: Project, prompts: QuerySet[Prompt], own_battles: QuerySet[Battle]) -> Draw:
    prompt = (
        prompts.annotate(had=Count("battles", Q(battles__in=own_battles), distinct=True)).order_by("had", "?").first()
    )
    if prompt is None:
        raise Refused(409, drawn=f"{project.name} has no prompts in its eval split; ask your own question.")
    return Draw(prompt, None, is_drawn=True)


def _meetings(project: Project) -> Counter[frozenset[int]]:
    """Return how often each two models have been shown together."""
    shown_battles = Battle.objects.filter(project=project, completion_a__isnull=False, completion_b__isnull=False)
    meetings: Counter[frozenset[int]] = Counter()
    for a, b, n in shown_battles.order_by().values_list("model_a", "model_b").annotate(n=Count("pk")):
        meetings[frozenset((a, b))] += n
    return meetings


def _choose_completions(
    prompt: Prompt, stored: QuerySet[Completion], pair: Pair, own_battles: QuerySet[Battle]
) -> tuple[Completion, Completion] | None:
    """Return two completions by lot: sampled alike, so that neither had more room, and not shown to this person
    before. None where others have just been shown the last."""
    a_s, b_s = (list(stored.filter(prompt=prompt, model=model)) for model in pair)
    seen_pairs = {
        frozenset(ids) for ids in own_battles.filter(prompt=prompt).values_list("completion_a", "completion_b")
    }
    couples = [(a, b) for a in a_s for b in b_s]
    if not couples:
        return None
    couples = [c for c in couples if c[0].sampling == c[1].sampling] or couples
    couples = [c for c in couples if frozenset((c[0].pk, c[1].pk)) not in seen_pairs] or couples
    return _lot.choice(couples)
