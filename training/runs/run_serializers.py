"""What programs send of runs, and what they are sent."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from annotate.core.api.serializer_fields import Id, Input
from training.configs.forms.option_list import options_as_markdown
from training.models import KeptCheckpoint, Metric, Run, Sample, TrackedRun
from training.runs.figures import fidelity
from training.runs.queue import outputs


class NewRun(Input):
    kind = serializers.CharField(max_length=24, help_text="sample, sft, reward, ppo, …")
    project = serializers.SlugField(max_length=50)
    name = serializers.CharField(max_length=120, help_text="Also the name of the new model.")
    parent = Id(required=False, allow_null=True, default=None, help_text="The model to start from.")
    dataset = Id(required=False, allow_null=True, default=None)
    other_dataset = Id(
        required=False, allow_null=True, default=None, help_text="A second dataset, if the kind uses one."
    )
    reward_model = Id(required=False, allow_null=True, default=None)
    config = serializers.DictField(
        required=False,
        default=dict,
        help_text=f"Hyperparameters of that kind, in the groups of its form, with defaults:\n{options_as_markdown()}",
    )
    cloned_from = Id(required=False, allow_null=True, default=None, help_text="The run that this one repeats, changed.")
    priority = serializers.ChoiceField(
        Run.Priority.choices, required=False, default=Run.Priority.NORMAL, help_text="Only managers may choose high."
    )
    seed = serializers.IntegerField(required=False, default=0, min_value=0, max_value=2**63 - 1)


class PlannedRunIn(Input):
    kind = serializers.CharField(max_length=24, help_text="sample, sft, reward, ppo, …")
    project = serializers.SlugField(max_length=50)
    parent = Id(required=False, allow_null=True, default=None, help_text="The model to start from.")
    dataset = Id(required=False, allow_null=True, default=None)
    config = serializers.DictField(
        required=False, default=dict, help_text="Options that differ from the defaults; `POST runs/` lists them."
    )


class EstimateOut(serializers.Serializer):
    seconds = serializers.FloatField(allow_null=True, help_text="null if no similar run has finished here.")
    memory_bytes = serializers.FloatField(allow_null=True)
    basis = serializers.CharField(help_text="The basis of the estimate.")
    parts = serializers.DictField(
        child=serializers.FloatField(), help_text="Bytes at the peak by part, where memory was counted."
    )
    fits = serializers.BooleanField(allow_null=True, help_text="Whether it fits here; null if that is not known.")
    advice = serializers.CharField(help_text="What it fits, and which options to change if it does not fit here.")
    changes = serializers.DictField(help_text="Options with which it fits here, if it does not fit as it is.")
    text = serializers.CharField(help_text="The line that the form shows.")


class KeptCheckpointOut(serializers.ModelSerializer):
    class Meta:
        model = KeptCheckpoint
        fields = ("step", "model")


class TrackedRunOut(serializers.ModelSerializer):
    tracker = serializers.CharField(help_text="tensorboard, wandb or mlflow.")

    class Meta:
        model = TrackedRun
        fields = ("tracker", "address", "problem")


class RunOut(serializers.ModelSerializer):
    project = serializers.SlugField(source="project.slug")
    amendments = serializers.ListField(
        source="nameless_amendments", child=serializers.DictField(), help_text="Choices at its pauses."
    )
    result = serializers.SerializerMethodField(help_text="The result; only reviewers see texts of a dataset in it.")

    other_reward_models = serializers.SerializerMethodField(
        help_text="Models that parts of the reward name, beside reward_model."
    )
    reason = serializers.SerializerMethodField(help_text="What happened; only researchers see quotations of the log.")
    fidelity = serializers.SerializerMethodField(
        help_text="How close the saved model is to the trained one, in words; `result.fidelity` has the figures."
    )

    kept_checkpoints = KeptCheckpointOut(many=True, read_only=True, help_text="Models of steps on its way.")
    trackers = TrackedRunOut(many=True, read_only=True, help_text="Where its figures go, such as W&B.")

    class Meta:
        model = Run
        fields = (
            *(
                "id",
                "project",
                "kind",
                "name",
                "state",
                "priority",
                "parent",
                "dataset",
                "other_dataset",
                "reward_model",
                "other_reward_models",
            ),
            *("output_model", "kept_checkpoints", "output_dataset", "cloned_from", "config"),
            *("seed", "code_version", "phase", "step", "total_steps", "ends_at", "reason_code", "reason", "remedy"),
            "remedy_changes",
            *("pause", "amendments"),
            *("result", "fidelity", "cancel_requested_at", "created_at", "queued_at", "started_at", "finished_at"),
            "trackers",
        )

    def get_other_reward_models(self, run: Run) -> list[int]:
        return [model.pk for model in run.reward_models[1:]]

    def get_reason(self, run: Run) -> str:
        return run.reason if run.project_id in self.context["researched"] else run.reason_without_log

    def get_fidelity(self, run: Run) -> str:
        return fidelity.sentence(run.result)

    def get_result(self, run: Run) -> dict[str, Any]:
        return run.result if run.project_id in self.context["reviewed"] else outputs.without_texts(run.result)


class NewPriority(Input):
    priority = serializers.ChoiceField(Run.Priority.choices, help_text="Only managers may raise it.")


class Choice(Input):
    choice = serializers.CharField(max_length=40, help_text="The name of one of `pause.choices`.")
    changes = serializers.DictField(
        required=False, default=dict, help_text="Other values for the options of the choice, or more options."
    )


class Again(Input):
    changes = serializers.DictField(required=False, help_text="Options; by default the run's `remedy_changes`.")


class MetricOut(serializers.ModelSerializer):
    class Meta:
        model = Metric
        fields = ("sequence", "step", "values", "time")


class ReviewOut(serializers.Serializer):
    sequence = serializers.IntegerField()
    step = serializers.IntegerField()
    predicted = serializers.FloatField(
        help_text="The share of votes, a tie as half of one, that the reward model expects for the policy's answer."
    )
    not_asked = serializers.CharField(help_text="Why annotators do not get it; empty if they do.")
    people = serializers.FloatField(allow_null=True, help_text="Share of people's votes for it, a tie as half of one.")
    simulations = serializers.FloatField(allow_null=True)


class SampleOut(serializers.ModelSerializer):
    class Meta:
        model = Sample
        fields = ("sequence", "step", "prompt", "completion", "score", "parts")
