"""Write the card of a model as Markdown: what it is, what it came from, what it learnt from, how good it is, what it is
not.

Everything in it is read from rows that are never edited, so the card of a model says the same tomorrow, but for what
has been measured and voted since. It holds no name of a person, no text and no path.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import yaml
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.text import slugify

from annotate.data.datasets.count_names import count_words
from annotate.models import Dataset, LanguageModel, Project
from evaluation.leaderboard.leaderboard_rows import standings
from evaluation.leaderboard.snapshots import current, default_annotator_kind
from evaluation.models import Evaluation
from evaluation.registry import card_limits
from evaluation.registry.ancestry import LineageEntry, ancestry, judgements_in
from evaluation.registry.card_markdown import as_code, option_value, plain, section, short, table
from evaluation.registry.model_list import in_millions
from training.core.kinds import kind_title
from training.models import Run
from training.runs.figures import fidelity, progress
from training.runs.figures.curves import is_number, number
from training.runs.present.run_page import run_config, run_overview
from training.serving import adapter_bases

_TASKS = {"policy": "text-generation", "classifier": "text-classification", "encoder": "fill-mask"}
# Identifiers of huggingface.co/docs/hub/repositories-licenses that models are likely to bear.
_KNOWN_LICENCES = {
    *("apache-2.0", "mit", "bsd", "bsd-2-clause", "bsd-3-clause", "isc", "unlicense", "mpl-2.0", "bsl-1.0", "afl-3.0"),
    *("cc0-1.0", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nd-4.0", "cc-by-nc-4.0"),
    *("cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0", "gpl-2.0", "gpl-3.0", "agpl-3.0", "lgpl-3.0", "openrail", "gemma"),
    *("bigscience-openrail-m", "bigcode-openrail-m", "llama2", "llama3", "llama3.1", "llama3.2", "llama3.3"),
}
_SAID_ELSEWHERE = (
    "stopped",
    "how_to_read",
    "verdict",
    "why",
    "parent",
    "final",
    "counts",
    "report",
    "hash",
    "parameters",
    "fidelity",
    "kept_checkpoints",
)
_WHAT = {
    "policy": "A language model that answers: it continues a conversation.",
    "reward": "A reward model: it scores answers as its annotators do, and does not write.",
    "tokenizer": "A tokenizer: it splits text into tokens.",
    "encoder": "An encoder: it reads a text in both directions and fills gaps.",
    "seq2seq": "A sequence-to-sequence model: it was pretrained to write missing parts of a text.",
    "classifier": "A classifier: it gives a text one of a few labels.",
}


def markdown(model: LanguageModel, *, readable: QuerySet[Project]) -> str:
    """Return a whole README.md, with the front matter that a hub reads."""
    return f"---\n{_front_matter(model)}---\n\n# {plain(model.name)}\n\n{body(model, readable=readable)}"


def body(model: LanguageModel, *, readable: QuerySet[Project], has_lineage: bool = True) -> str:
    """Return the card without its title. `readable` are the projects that the reader may know of.

    A page that draws the lineage shows the card without `has_lineage`.
    """
    line = ancestry(model, readable)
    entry = line[-1]
    evaluations = list(_evaluations(model, readable))
    parts = [
        _summary(model, entry),
        section("Lineage", _lineage(line) if has_lineage else ()),
        section("Data", _data(line)),
        section("Annotations", _judgements(line)),
        section("Licence", _licence(line)),
        section("Training", _training(entry)),
        section("Figures", _figures(entry, evaluations)),
        section("Arena", _arena(model, readable)),
        section("Cost", _cost(line)),
        section("Limitations", [f"- {text}" for text in card_limits.limits(line, evaluations)]),
    ]
    written_on = timezone.now().strftime("%-d %B %Y")
    return "\n\n".join(filter(None, parts)) + f"\n\n*Written by Assay on {written_on} from its records.*\n"


def _front_matter(model: LanguageModel) -> str:
    """Return the front matter: a hub refuses a card whose licence it does not know, or whose base model is no name of a
    repository."""
    facts: dict[str, Any] = {"tags": ["assay", slugify(model.stage) or "model"]}
    if model.licence.lower() in _KNOWN_LICENCES:
        facts["license"] = model.licence.lower()
    elif model.licence:
        facts |= {"license": "other", "license_name": slugify(model.licence) or "other"}
    if model.parent is not None and re.fullmatch(r"[\w.-]+(/[\w.-]+)?", model.parent.name, re.ASCII):
        facts["base_model"] = model.parent.name
    if model.kind in _TASKS:
        facts["pipeline_tag"] = _TASKS[model.kind]
    return yaml.safe_dump(facts, sort_keys=True, allow_unicode=True)


def _summary(model: LanguageModel, entry: LineageEntry) -> str:
    facts = [f"Stage **{plain(model.stage)}**"]
    if model.parameters:
        facts.append(f"{in_millions(model.parameters)} parameters ({model.parameters:,})")
    if architecture := (model.card or {}).get("architecture"):
        facts.append(plain(str(architecture)))
    if form := adapter_bases.described(model):
        facts.append(plain(form))
    facts.append(f"since {model.created_at:%-d %B %Y}")
    text = f"{_WHAT.get(model.kind, model.kind)} {', '.join(facts)}."
    if entry.run is not None:
        text += f" Made by run {entry.run.pk} ({kind_title(entry.run)}){_at_step(entry)}."
    if model.content_hash:
        text += f"\n\nHash of its files: `{model.content_hash}`"
    if model.retired_at is not None:
        text += f"\n\n**Retired on {model.retired_at:%-d %B %Y}: {plain(model.retired_reason)}.**"
    return text


def _at_step(entry: LineageEntry) -> str:
    return "" if entry.step is None else f", at step {entry.step}"


def _lineage(line: list[LineageEntry]) -> Iterator[str]:
    yield from table(("Model", "Stage", "From", "Made by", "Hash"), (_ancestor(entry) for entry in line))


def _ancestor(entry: LineageEntry) -> tuple[str, ...]:
    model = entry.model
    origin = model.parent.name if model.parent else "raw text" if entry.run else model.public_origin
    if names := [one.name for one in entry.reward_models]:
        origin += f", with the reward model{'s' * (len(names) > 1)} {', '.join(names)}"
    by = (
        f"run {entry.run.pk}, {kind_title(entry.run)}{_at_step(entry)}"
        if entry.run
        else "a run elsewhere"
        if entry.is_hidden
        else "imported"
    )
    return (
        model.name,
        model.stage,
        origin or "not stated",
        by,
        as_code(model.content_hash[:12]),
    )


def _data(line: list[LineageEntry]) -> Iterator[str]:
    rows = [
        (
            entry.model.name,
            dataset.name,
            dataset.kind,
            _counts_text(dataset),
            _annotators_text(dataset),
            f"`{dataset.content_hash[:12]}`",
        )
        for entry in line
        for dataset in entry.datasets
    ]
    if rows:
        yield from table(("For", "Dataset", "Kind", "Holds", "Annotated by", "Hash"), rows)


def _counts_text(dataset: Dataset) -> str:
    counts = [(count_words(name), n) for name, n in dataset.counts.items() if is_number(n) and name != "judges"]
    return ", ".join(f"{n:,} {name}" if isinstance(n, int) else f"{name} {number(n)}" for name, n in counts[:5])


def _annotators_text(dataset: Dataset) -> str:
    if dataset.judge == "model":
        return f"the judge model {plain(dataset.counts.get('judge_model', ''))}"
    return {"person": "people", "simulation": "simulated annotators"}.get(dataset.judge, "nobody here")


def _judgements(line: list[LineageEntry]) -> list[str]:
    """Return the distinct annotations, whichever of its ancestors or their reward models learnt from them."""
    datasets = [dataset for entry in line for dataset in entry.datasets]
    texts = [f"- {one.in_words}" for one in judgements_in(datasets)]
    if texts:
        return ["Each annotation counts once, over all runs of the lineage:", "", *texts]
    return ["None: neither the model nor its ancestors were trained on annotations of this site."]


def _licence(line: list[LineageEntry]) -> list[str]:
    """Return its own licence, and that of each ancestor that has another."""
    own_licence = line[-1].model.licence
    sentences = [f"{plain(own_licence)}." if own_licence else "Not stated."]
    others = {
        entry.model.name: entry.model.licence or "not stated"
        for entry in line[:-1]
        if entry.model.licence != own_licence
    }
    sentences += [f"- {plain(name)} (a source): {plain(licence)}" for name, licence in others.items()]
    return sentences if len(sentences) == 1 else [sentences[0], "", *sentences[1:]]


def _training(entry: LineageEntry) -> Iterator[str]:
    if entry.run is None:
        return
    run = entry.run
    yield f"Run {run.pk}, {kind_title(run)}; seed {run.seed}; code `{run.code_version or 'unknown'}`."
    options = run_config.options(run)
    chosen = [option for option in options if not option.is_default]
    left = [option for option in options if option.is_default]
    if chosen:
        yield ""
        yield from table(
            ("Option", "Chosen", "Description"), ((f"`{o.name}`", option_value(o.value), o.help) for o in chosen)
        )
    if left:
        yield ""
        yield "Defaults: " + ", ".join(f"`{o.name}={short(o.value)}`" for o in left) + "."
    if run.amendments:
        yield ""
    for amendment in run.nameless_amendments:
        changes = ", ".join(f"`{name}={short(value)}`" for name, value in amendment.get("changes", {}).items())
        yield (
            f"- At its pause in step {amendment.get('step', '?')}, people chose: "
            f"{changes or 'to continue without changes'}."
        )


def _figures(entry: LineageEntry, evaluations: list[Evaluation]) -> Iterator[str]:
    if evaluations:
        yield from table(
            ("On", "Metric", "Value", "95 %", "n", "Signature"),
            (
                (e.task, _metric(e), number(e.value), _interval(e), f"{e.n:,}", signature)
                for e, signature in zip(evaluations, _each_once(e.signature for e in evaluations), strict=True)
            ),
        )
    if entry.run is not None and entry.step is None:  # what a run says at its end is not of its earlier steps
        yield from _of_the_run(entry.run)


def _each_once(signatures: Iterable[str]) -> Iterator[str]:
    """Yield each signature once: all figures of one run have the same, which is long, and the first of them bears
    it."""
    before = None
    for signature in signatures:
        yield signature if signature != before else "as above"
        before = signature


def _of_the_run(run: Run) -> Iterator[str]:
    """Yield what the recipe said at its end, but for what other sections say."""
    if compared := run_overview.before_after(run.result):
        yield ""
        yield from table(("At the end of its run", "Parent", "This model"), compared)
    if sentence := fidelity.sentence(run.result):
        yield ""
        yield sentence
    left = {name: value for name, value in run.result.items() if name not in _SAID_ELSEWHERE}
    if lines := progress.figures(left)[:12]:
        yield ""
        yield from table(("From its run", "Value"), lines)


def _arena(model: LanguageModel, readable: QuerySet[Project]) -> Iterator[str]:
    for project in readable.filter(contestants__model=model).distinct().order_by("pk"):
        judge = default_annotator_kind(project)
        board = current(project=project, judge=judge)
        standing = next((row for row in standings(board) if row.model.pk == model.pk), None)
        if standing is None:
            yield f"- In {plain(project.name)}: no battle yet."
        elif not standing.is_connected:
            yield f"- In {plain(project.name)}: {standing.battles:,} battles, none with the ranked models yet."
        else:
            group = "people" if judge == "person" else "simulated annotators"
            yield (
                f"- In {plain(project.name)}: rating {standing.rating:.0f}, 95 % interval {standing.lower:.0f} to "
                f"{standing.upper:.0f}, rank {standing.ranks}, from {standing.battles:,} battles with votes of {group} "
                f"({plain(board.signature)})."
            )


def _cost(line: list[LineageEntry]) -> Iterator[str]:
    """Yield the cost of its own run, and of all that went into it."""
    now = timezone.now()
    runs = {entry.run.pk: entry.run for entry in line if entry.run is not None}
    attempts = {pk: list(run.attempts.all()) for pk, run in runs.items()}
    own_run = line[-1].run
    if own_run is not None and attempts[own_run.pk]:
        yield f"- Its own run: {progress.cost(attempts[own_run.pk], now)}."
    if len(runs) > 1 and (every := [one for run_attempts in attempts.values() for one in run_attempts]):
        yield f"- With the {len(runs)} runs of its lineage: {progress.cost(every, now)}."


def _evaluations(model: LanguageModel, readable: QuerySet[Project]) -> QuerySet[Evaluation]:
    """Return the latest evaluation of each metric on each task in each project: an older one was replaced."""
    rows = model.evaluations.filter(Q(project=None) | Q(project__in=readable), group="").order_by("-pk")
    latest: dict[tuple[Any, ...], int] = {}
    for pk, *key in rows.values_list("pk", "task", "metric", "project", "opponent"):
        latest.setdefault(tuple(key), pk)
    evaluations = Evaluation.objects.filter(pk__in=latest.values()).select_related("opponent")
    return evaluations.order_by("task", "metric", "-pk")


def _metric(e: Evaluation) -> str:
    return f"{e.metric} against {e.opponent.name}" if e.opponent else e.metric


def _interval(e: Evaluation) -> str:
    if e.lower is not None and e.upper is not None:
        return f"{number(e.lower)} to {number(e.upper)}"
    return f"± {number(1.96 * e.standard_error)}" if e.standard_error is not None else "not known"
