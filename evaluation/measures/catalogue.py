"""Declare which measure suits which model and which dataset, before a run is queued."""

from __future__ import annotations

import os
from dataclasses import dataclass
from urllib.parse import urlsplit

from annotate.core.artefacts import local_copies
from annotate.data.rows.task_families import TASKS
from annotate.data.rows.task_items import FORMS
from annotate.models import Dataset, LanguageModel, Project
from training.configs.evaluate import KEY_VARIABLE, MEASURES, URL_VARIABLE
from training.core.kinds import Order
from training.core.run_directory import RecipeFailure
from training.models import Run

Errors = dict[str, str]


@dataclass(frozen=True)
class Measure:
    """Describe a measure. `takes` are kinds of dataset; `form` is that of a task file. `needs_dataset`: there is
    nothing of the project's own to measure on."""

    name: str
    title: str
    description: str
    parents: tuple[str, ...]
    takes: tuple[str, ...] = ("task",)
    form: str = ""
    needs_dataset: bool = False
    default_data: str = ""  # what it is measured on when no dataset is given

    @property
    def one_of(self) -> str:
        """Return `a task of references`, `a task of texts, or a corpus`."""
        named = {"task": f"task of {self.form}", "corpus": "corpus"}
        return " or ".join(f"a {named.get(kind, f'dataset of kind {kind}')}" for kind in self.takes)


FORECAST = ("policy",)
ALL: dict[str, Measure] = {
    measure.name: measure
    for measure in (
        Measure(
            "perplexity",
            "Perplexity",
            "How well the model predicts unseen texts: perplexity per token, word and byte, and bits per "
            "byte, over all texts together.",
            FORECAST,
            ("task", "corpus", "sft"),
            "texts",
            default_data="answers to prompts of the eval split",
        ),
        Measure(
            "overlap",
            "Overlap with references",
            "How similar its answers are to good answers: BLEU, chrF, ROUGE and METEOR, with several references.",
            FORECAST,
            ("task", "sft"),
            "references",
            default_data="answers to prompts of the eval split that people wrote or preferred",
        ),
        Measure(
            "choices",
            "Zero-shot choices",
            "How often the right one of several endings or sentences is the most likely for the model; with the "
            "built-in suite, a public task, or your own file.",
            FORECAST,
            ("task",),
            "choices",
            default_data="a suite, chosen below",
        ),
        Measure(
            "classification",
            "Classification",
            "How often a classifier gives the right label: accuracy, F1 by label, MCC, and the accuracy of always "
            "giving the most frequent label.",
            ("classifier",),
            ("task", "labelled"),
            "labelled",
            needs_dataset=True,
        ),
        Measure(
            "reward_accuracy",
            "Agreement with annotators",
            "How often a reward model prefers the answer that annotators preferred, by source of the pairs, "
            "compared with always choosing the longer one.",
            ("reward",),
            ("task", "preferences"),
            "pairs",
            default_data="annotated pairs of the eval split",
        ),
        Measure(
            "win_rate",
            "Win rate",
            "How often its answers are preferred to an opponent's: by people, by a reward model, or by a judge model "
            "with an endpoint, also controlled for length.",
            FORECAST,
            (),
            default_data="answers of both to the same prompts of the eval split",
        ),
        Measure(
            "fluency",
            "Fluency",
            "How unusual its answers are for its parent: surprise under the parent, entropy, scripts that the parent "
            "does not use, and KL; with a reward model the score above the parent's, too. High reward with high "
            "surprise can mean broken language.",
            FORECAST,
            (),
            default_data="answers of the model and of its parent to the same prompts of the eval split",
        ),
    )
}
assert ALL.keys() == MEASURES.keys()


def suits(order: Order) -> Errors:
    """Return what of an evaluation's order does not go together, by field."""
    measure = ALL[order.config.measure]
    errors = _model(order.parent, measure) | _dataset(order.other_dataset, measure)
    if measure.name == "win_rate":
        return errors | _opponent(order) | _judge(order)
    if order.reward_model is not None and measure.name != "fluency":
        errors["reward_model"] = f"{measure.title} needs no reward model; leave it out."
    if measure.name == "fluency" and order.parent is not None:
        errors = _parent_that_answers(order.parent) | errors
    return errors


def _parent_that_answers(model: LanguageModel) -> Errors:
    parent = model.parent
    if parent is None or parent.kind != LanguageModel.Kind.POLICY:
        return {
            "parent": f"{model.name} has no parent that answers, so surprise cannot be measured; "
            "measure a model that has a parent."
        }
    if parent.path is None or not local_copies.is_available(parent.path):
        return {
            "parent": f"The weights of {parent.name}, the parent of {model.name}, are not on this machine; import them."
        }
    return {}


def _model(model: LanguageModel | None, measure: Measure) -> Errors:
    if model is None:
        return {}
    if model.kind not in measure.parents:
        fitting = " or ".join(m.name for m in ALL.values() if model.kind in m.parents)
        remedy = f"measure its {fitting}" if fitting else "there is no measure for this kind of model"
        kinds = " or ".join(measure.parents)
        return {"parent": f"{model.name} is a {model.kind}, and {measure.name} needs a {kinds}; {remedy}."}
    if model.path is None and measure.name != "win_rate":  # which reads the answers that it has given
        return {
            "parent": f"{model.name} has only an endpoint, which gives no log-probabilities of given texts: "
            f"{measure.name} needs its weights on this machine. Import them (manage.py import_model), or choose "
            "another model."
        }
    return {}


def _dataset(dataset: Dataset | None, measure: Measure) -> Errors:
    if dataset is None:
        if measure.needs_dataset:
            return {"other_dataset": f"Choose {measure.one_of}; you can upload one under Data."}
        return {}
    if not measure.takes:
        return {"other_dataset": f"{measure.title} uses {measure.default_data}; leave the dataset out."}
    if dataset.kind not in measure.takes:
        otherwise = f", or no dataset for {measure.default_data}" if measure.default_data else ""
        requirement = f"{measure.name} needs {measure.one_of}{otherwise}"
        return {"other_dataset": f"{dataset.name} is a dataset of {dataset.kind}; {requirement}."}
    family = TASKS.get(dataset.counts.get("task", ""))
    if dataset.kind == Dataset.Kind.LABELLED and family is not None and not family.is_classification:
        return {
            "other_dataset": f"{dataset.name} has the task {family.name}, whose answers are not labels; choose one "
            "with labels."
        }
    form = dataset.counts.get("form", "")
    if dataset.kind == Dataset.Kind.TASK and form != measure.form:
        fitting = " or ".join(FORMS[form].measures) if form in FORMS else "nothing"
        return {
            "other_dataset": f"{dataset.name} is a task of {form or 'no form'}, which is for {fitting}; "
            f"{measure.name} needs one of {measure.form}."
        }
    return {}


def _opponent(order: Order) -> Errors:
    name = order.config.opponent.strip()
    opponent = LanguageModel.objects.of_projects([order.project]).filter(name=name).first()
    if opponent is None:
        return {
            "config.opponent": f"{order.project.name} has no model {name!r:.120}; use the name on its page, "
            "or enter that model in the arena here."
        }
    if order.parent is not None and opponent.pk == order.parent.pk:
        return {"config.opponent": f"{name} is the model itself; choose another one."}
    if opponent.kind != LanguageModel.Kind.POLICY:
        return {"config.opponent": f"{name} is a {opponent.kind} and does not answer; choose a policy."}
    return {}


def _judge(order: Order) -> Errors:
    config, reward = order.config, order.reward_model
    if config.judged_by == "reward":
        return {} if reward is not None else {"reward_model": "Choose a reward model as judge."}
    errors: Errors = {}
    if reward is not None:
        errors["reward_model"] = f"The judge is {config.judged_by}; leave it out, or choose judged_by=reward."
    if config.judged_by == "endpoint" and config.judge.strip():
        errors |= _registered_judge(order.project, config.judge.strip())
    elif config.judged_by == "endpoint":
        errors |= _endpoint(config.judge_url.strip(), config.judge_key_variable.strip())
    return errors


def judge_model(run: Run) -> dict[str, LanguageModel]:
    """Return the registered model that a win rate's run asks for its opinion, as its role."""
    config = run.config
    if config.get("measure") != "win_rate" or config.get("judged_by") != "endpoint" or not config.get("judge"):
        return {}
    judge = _judge_named(run.project, config["judge"].strip())
    if judge is None:
        raise RecipeFailure(
            "unknown_judge",
            f"{run.project.name} cannot use a model {config['judge']!r:.120}.",
            "Queue the run again with a registered judge.",
        )
    return {"judge": judge}


def _judge_named(project: Project, name: str) -> LanguageModel | None:
    return LanguageModel.objects.usable_in(project).policies().that_answer().available().filter(name=name).first()


def _registered_judge(project: Project, name: str) -> Errors:
    if _judge_named(project, name) is None:
        return {"config.judge": f"{project.name} cannot use a policy {name!r:.120}; register it first."}
    return {}


def _endpoint(url: str, variable: str) -> Errors:
    errors: Errors = {}
    try:
        parts = urlsplit(url)
        is_whole = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_whole = False
    if not is_whole:
        errors["config.judge_url"] = f"{url!r:.120} is not an address such as http://localhost:8100/v1."
    elif "@" in parts.netloc:
        errors["config.judge_url"] = (
            "contains a password; put the key into a variable and enter its name in judge_key_variable."
        )
    if variable and not variable.isidentifier():
        errors["config.judge_key_variable"] = (
            "must be the name of an environment variable such as ASSAY_JUDGE_KEY, not a key."
        )
    elif variable and not variable.startswith(KEY_VARIABLE):
        errors["config.judge_key_variable"] = (
            f"must start with {KEY_VARIABLE}, so that no other secret of this site is sent to a judge."
        )
    elif variable and variable not in os.environ:
        errors["config.judge_key_variable"] = (
            f"{variable} is not set on this site; set it for web and worker, and restart them."
        )
    elif variable and (bound := URL_VARIABLE + variable.removeprefix(KEY_VARIABLE)) not in os.environ:
        errors["config.judge_key_variable"] = f"needs {bound}, set to the address that the key is for."
    return errors
