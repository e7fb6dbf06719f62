"""Read what is there for the five steps of a project: its rows are the truth, `FirstModel` says which are meant."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from annotate.data.datasets.selections import count_examples, informativeness_of
from annotate.models import (
    AnnotatorKind,
    Completion,
    Dataset,
    Demonstration,
    Import,
    LanguageModel,
    Project,
    Prompt,
    Split,
)
from annotate.models.feedback import FeedbackQuerySet, feedback_tables
from evaluation.first_model import path_steps
from evaluation.first_model.path_steps import Facts
from evaluation.first_model.recipe_choice import Annotated, Choice, choose
from evaluation.first_model.time_estimates import REFERENCE_TOKENS
from evaluation.models import FirstModel
from training.models import Run
from training.storage import reward_evidence

_RELATED = (
    "project",
    "model",
    "import_run__output_model",
    "prompts",
    "sampling_run",
    "reward_run__output_model",
    "freeze",
)
IN_HAND = (Import.State.QUEUED, Import.State.RUNNING)
_BETWEEN = timedelta(seconds=30)  # more than it takes from the end of a run to what follows it


def path_of(project: Project) -> FirstModel:
    """Return where the project is on its path; an unsaved row where nobody has begun."""
    rows = FirstModel.objects.select_related(*_RELATED, "training_run__output_model")
    return rows.filter(project=project).first() or FirstModel(project=project)


def base_of(path: FirstModel) -> LanguageModel | None:
    """Return the model that is sampled from and trained: the one chosen, or what its import has made."""
    if path.model is not None:
        return path.model
    return path.import_run.output_model if path.import_run else None


def child_of(path: FirstModel) -> LanguageModel | None:
    return path.training_run.output_model if path.training_run else None


def is_model_chosen_now(path: FirstModel) -> bool:
    """Return whether the Training step asks which model to train: none is chosen yet, or the chosen one has a child."""
    return base_of(path) is None or child_of(path) is not None


def answer_tokens(path: FirstModel) -> int:
    """Return how long the answers are that are annotated, at most; as the project says where no run has made them."""
    if path.sampling_run is None:
        return path.project.max_new_tokens
    return path.sampling_run.config.get("max_new_tokens", REFERENCE_TOKENS)


def facts_of(path: FirstModel) -> Facts:
    project, base = path.project, base_of(path)
    answers = Completion.objects.filter(prompt__project=project, prompt__side=Split.TRAIN, model__isnull=False)
    return Facts(
        has_model=base is not None,
        prompts=Prompt.objects.filter(project=project, side=Split.TRAIN).count(),
        is_importing=path.prompts is not None and path.prompts.state in IN_HAND,
        answers=answers.filter(model=base).count() if base else 0,
        is_sampling=is_under_way(path.sampling_run),
        has_annotations=any(rows.exists() for rows in _counted(project)),
        has_training=path.training_run is not None
        or path.reward_run is not None
        or freezing_step(path) == path_steps.TRAINING,
        has_child=child_of(path) is not None,
    )


def is_freezing(path: FirstModel) -> bool:
    """Return whether a step waits for a dataset that is being frozen, or for the run that comes next."""
    return path.freeze is not None and path.once_frozen is not None


def freezing_step(path: FirstModel) -> str:
    """Return the step that waits for a freeze, or whose freeze has failed; "" where there is none. Answers come before
    a reward model, whose prompts are those of PPO."""
    if path.freeze is None:
        return ""
    is_sampling = path.freeze.kind == Dataset.Kind.PROMPTS and path.reward_run is None
    return path_steps.ANSWERS if is_sampling else path_steps.TRAINING


def is_under_way(run: Run | None) -> bool:
    return run is not None and not run.is_finished


def annotation_count(project: Project) -> int:
    """Return how many counted annotations of the train split there are, by people and simulations."""
    return sum(rows.count() for rows in _counted(project))


def annotator_kind_of(project: Project) -> str:
    """Return whose annotations train: people's, unless simulations alone have annotated."""
    tables = _counted(project)
    has_people = any(rows.by(AnnotatorKind.PERSON).exists() for rows in tables)
    has_simulations = any(rows.by(AnnotatorKind.SIMULATION).exists() for rows in tables)
    return AnnotatorKind.SIMULATION if has_simulations and not has_people else AnnotatorKind.PERSON


def uncounted_simulations(project: Project) -> int:
    """Return how many annotations of simulations train nothing, because people have annotated."""
    if annotator_kind_of(project) == AnnotatorKind.SIMULATION:
        return 0
    return sum(rows.by(AnnotatorKind.SIMULATION).count() for rows in _counted(project))


def _counted(project: Project) -> list[FeedbackQuerySet]:
    """Return the counted annotations of the train split, a queryset for each kind."""
    return [rows.counted().on_split(Split.TRAIN) for rows in feedback_tables(project)]


def annotated(project: Project, judge: str) -> Annotated:
    """Return what these annotators have said so far, as a dataset frozen now would have it."""
    told = informativeness_of(project=project, judge=judge)
    demonstrations = Demonstration.objects.filter(project=project).teaching().by(judge).on_split(Split.TRAIN)
    return Annotated(
        pairs=told.pairs,
        ties=told.ties,
        thumbs_up=told.thumbs_up,
        thumbs_down=told.thumbs_down,
        stars=told.stars,
        demonstrations=demonstrations.count(),
        informative=told.informative,
        prompts_informative=told.prompts_telling,
        examples=count_examples(project=project, judge=judge, whole_answers=False),
    )


def choice_of(path: FirstModel) -> tuple[Annotated, Choice]:
    """Return what was annotated, and what can be trained on it."""
    known = annotated(path.project, annotator_kind_of(path.project))
    is_refused = is_reward_refused(path, known)
    return known, choose(known, reward_is_refused=is_refused, refused_at=_refused_at(path))


def is_reward_refused(path: FirstModel, annotated: Annotated) -> bool:
    """Return whether the last reward model did not beat chance, and not twice as much has been said since."""
    return bool(path.problem) and not 0 < 2 * _refused_at(path) <= annotated.informative


def is_between_runs(path: FirstModel) -> bool:
    """Return whether the reward model has just come and PPO is about to be ordered, by whoever ended its run."""
    run = path.reward_run
    if run is None or run.state != Run.State.SUCCEEDED or path.training_run is not None or path.problem:
        return False
    return run.finished_at is not None and timezone.now() - run.finished_at < _BETWEEN


def is_reward_unproven(path: FirstModel) -> bool:
    """Return whether the path's reward model is here, and PPO refuses it unless somebody trusts it all the same."""
    model = path.reward_run.output_model if path.reward_run and path.training_run is None else None
    return model is not None and model.path is not None and reward_evidence.of_model(model).refuses


def _refused_at(path: FirstModel) -> int:
    """Return how many annotations told the refused reward model one answer from another; 0 where nobody knows."""
    dataset = path.reward_run.dataset if path.problem and path.reward_run else None
    return int(dataset.counts.get("telling", 0)) if dataset else 0


def annotation_seconds(project: Project) -> list[float]:
    """Return how long people's annotations have taken here, in seconds; an hour away from the desk is left out."""
    seconds: list[float] = []
    for table in feedback_tables(project):
        rows = table.counted().by(AnnotatorKind.PERSON).filter(seconds__range=(0.5, 900))
        seconds += rows.order_by("-id").values_list("seconds", flat=True)[:500]
    return seconds
