"""Collect all that went into a model: the models it was made from and rewarded by, their runs, their data, their
votes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from django.db.models import Count, QuerySet

from annotate.data.feedback_lineage import KINDS, TEACHING
from annotate.data.feedback_lineage import one_per_item as one_each
from annotate.models import AnnotatorKind, Dataset, LanguageModel, Project
from training.models import Run

_MAKERS = ("made_by", "kept_checkpoint__run")
RELATED = (
    "parent",
    *(f"{maker}__{name}" for maker in _MAKERS for name in ("dataset", "other_dataset", "reward_model", "project")),
)


@dataclass(frozen=True)
class LineageEntry:
    """A model, and the run that made it where the reader may know of it; None for one that was imported."""

    model: LanguageModel
    run: Run | None
    is_hidden: bool = False  # a run made it, of a project that the reader may not read

    @property
    def step(self) -> int | None:
        """Return the step of its run, of a checkpoint that the run kept on its way; None for what a run ended with."""
        return self.model.kept_checkpoint.step if self.run and hasattr(self.model, "kept_checkpoint") else None

    @property
    def datasets(self) -> list[Dataset]:
        datasets = [self.run.dataset, self.run.other_dataset] if self.run else []
        return [dataset for dataset in datasets if dataset is not None]

    @cached_property
    def reward_models(self) -> list[LanguageModel]:
        """Return what scored its answers; never itself."""
        return [one for one in self.run.reward_models if one.pk != self.model.pk] if self.run else []


@dataclass(frozen=True)
class Judgements:
    """Distinct annotations of one kind by one sort of judge."""

    kind: str
    judge: str
    total: int
    judges: int
    withdrawn: int

    @property
    def in_words(self) -> str:
        one = self.kind.removesuffix("s")
        judge = (
            ("person", "people")
            if self.judge == AnnotatorKind.PERSON
            else ("simulated annotator", "simulated annotators")
        )
        back = f" ({self.withdrawn:,} no longer count{'s' * (self.withdrawn == 1)})" if self.withdrawn else ""
        return f"{_count_text(self.total, one, self.kind)} by {_count_text(self.judges, *judge)}{back}"


def _count_text(n: int, singular: str, plural: str) -> str:
    return f"{n:,} {singular if n == 1 else plural}"


def ancestry(model: LanguageModel, readable: QuerySet[Project]) -> list[LineageEntry]:
    """Return what it came from, its reward models included, the first ones first and itself last. Each once."""
    project_ids = set(readable.values_list("pk", flat=True))
    made_by_id: dict[int, LineageEntry] = {}
    _collect(model.pk, project_ids, made_by_id, set())
    return list(made_by_id.values())


def _collect(pk: int, readable: set[int], made_by_id: dict[int, LineageEntry], under_way: set[int]) -> None:
    if pk in made_by_id or pk in under_way:  # parents in a circle end here
        return
    under_way.add(pk)
    entry = entry_of(LanguageModel.objects.select_related(*RELATED).get(pk=pk), readable)
    for earlier in (entry.model.parent_id, *(one.pk for one in entry.reward_models)):
        if earlier is not None:
            _collect(earlier, readable, made_by_id, under_way)
    made_by_id[pk] = entry


def entry_of(model: LanguageModel, readable: set[int]) -> LineageEntry:
    run: Run | None = model.maker
    if run is None or run.project_id in readable:
        return LineageEntry(model, run)
    return LineageEntry(model, None, is_hidden=True)


def judgements_in(datasets: Sequence[Dataset]) -> list[Judgements]:
    """Return each annotation once, in however many of these datasets it is."""
    judgements = []
    ids = {dataset.pk for dataset in datasets}
    for kind in TEACHING:
        table = KINDS[kind]
        # By id first: counted through the join, an annotation in two datasets would count twice.
        distinct_rows = one_each(kind, table.objects.filter(datasets__in=ids))
        annotations = table.objects.filter(pk__in=distinct_rows.values("pk"))
        for judge in AnnotatorKind.values:
            rows = annotations.filter(judge=judge).order_by()
            total = rows.count()
            if total:
                people = rows.aggregate(n=Count("author", distinct=True))["n"]
                visitors = rows.filter(author=None).aggregate(n=Count("visitor", distinct=True))["n"]
                withdrawn = rows.exclude(status="counted").count()
                judgements.append(Judgements(f"{kind}s", judge, total, people + visitors, withdrawn))
    return judgements


def totals(datasets: Iterable[Dataset]) -> Counter[int]:
    """Return how many annotations each of them holds, by its id: a query for each kind, however many there are."""
    ids = {dataset.pk for dataset in datasets}
    counts: Counter[int] = Counter()
    for kind in TEACHING:
        counts_by_dataset = (
            one_each(kind, KINDS[kind].objects.filter(datasets__in=ids))
            .order_by()
            .values_list("datasets")
            .annotate(n=Count("pk"))
        )
        counts.update({pk: n for pk, n in counts_by_dataset if pk in ids})
    return counts


def parent_of(model: LanguageModel) -> LanguageModel | None:
    """Return what a candidate is set against: a tokenizer, from which a pretrained model starts, answers nothing."""
    parent = model.parent
    return parent if parent is not None and parent.kind == LanguageModel.Kind.POLICY else None
