"""Serialize language models for programs: what they send, and what they get."""

from __future__ import annotations

from rest_framework import serializers

from annotate.core.api.serializer_fields import Choice, Id, Input
from annotate.core.errors import Refused
from annotate.language_models.endpoint_check import LONGEST_QUESTION
from annotate.language_models.registration import is_below_models, require_reachable
from annotate.language_models.serving import address_of
from annotate.models import LanguageModel
from annotate.models.language_models import DEFAULT_CONCURRENCY


class Settings(Input):
    """Say how the model is asked. What is null or empty is as the project says."""

    temperature = serializers.FloatField(required=False, allow_null=True, default=None)
    top_p = serializers.FloatField(required=False, allow_null=True, default=None)
    max_new_tokens = serializers.IntegerField(required=False, allow_null=True, default=None)
    system_prompt = serializers.CharField(required=False, allow_blank=True, default="", trim_whitespace=False)
    template_options = serializers.DictField(
        required=False, default=dict, help_text="Sent as chat_template_kwargs, such as enable_thinking."
    )
    concurrency = serializers.IntegerField(required=False, default=DEFAULT_CONCURRENCY)
    prompt_price = serializers.DecimalField(
        12, 6, required=False, allow_null=True, default=None, help_text="Dollars per million tokens."
    )
    completion_price = serializers.DecimalField(
        12, 6, required=False, allow_null=True, default=None, help_text="Dollars per million tokens."
    )


SETTINGS = tuple(Settings._declared_fields)


class NewModel(Settings):
    name = serializers.CharField(max_length=120)
    kind = Choice(LanguageModel.Kind.choices, required=False, default="policy")
    stage = serializers.CharField(required=False, default="base", max_length=24)
    folder = serializers.CharField(required=False, default="", allow_blank=True, help_text="Such as models/base.")
    endpoint = serializers.CharField(required=False, default="", allow_blank=True, help_text="OpenAI-compatible URL.")
    served_name = serializers.CharField(required=False, default="", allow_blank=True, max_length=500)
    key = serializers.CharField(
        required=False,
        default="",
        allow_blank=True,
        write_only=True,
        help_text="The key of the endpoint; never shown again.",
    )
    parent = Id(required=False, allow_null=True, default=None)
    licence = serializers.CharField(required=False, default="", allow_blank=True, max_length=120)
    origin = serializers.CharField(required=False, default="", allow_blank=True, max_length=500)
    project = serializers.SlugField(
        max_length=50,
        required=False,
        help_text="Its project. By default: for staff all projects; for a researcher of one project, that project.",
    )
    is_shared = serializers.BooleanField(
        required=False,
        allow_null=True,
        default=None,
        help_text="Whether every project can use it. By default only models that staff register without project "
        "and key.",
    )
    parameters = serializers.IntegerField(
        required=False, allow_null=True, default=None, min_value=0, max_value=2**63 - 1
    )

    def validate_endpoint(self, endpoint: str) -> str:
        """Refuse an address that only this server reaches: it asks there, and says what came back. The operator alone
        may allow one."""
        if endpoint:
            try:
                require_reachable(endpoint)
            except Refused as refused:
                raise serializers.ValidationError(refused.errors["endpoint"]) from refused
        return endpoint

    def validate_folder(self, folder: str) -> str:
        if folder and not is_below_models(folder):
            raise serializers.ValidationError("must be a path below models/ in ASSAY_DATA, such as models/base.")
        return folder


class ModelOut(serializers.ModelSerializer):
    origin = serializers.CharField(
        source="public_origin", help_text="Where it comes from; a folder and an endpoint are named as such."
    )
    run = serializers.SerializerMethodField(help_text="The run that made it.")
    step = serializers.SerializerMethodField(
        help_text="Of the run, for a checkpoint that it kept on its way; else null."
    )

    class Meta:
        model = LanguageModel
        fields = (
            *("id", "name", "kind", "stage", "parent", "run", "step", "parameters", "content_hash", "licence"),
            *("origin", "card", "is_shared", "created_at", "retired_at", "retired_reason"),
        )

    def get_run(self, model: LanguageModel) -> int | None:
        return model.maker.pk if model.maker else None

    def get_step(self, model: LanguageModel) -> int | None:
        return model.kept_checkpoint.step if hasattr(model, "kept_checkpoint") else None


class Retirement(Input):
    reason = serializers.CharField(allow_blank=True)


class ServingOut(serializers.Serializer):
    state = serializers.CharField(help_text="loaded, idle, loading, failed, evicted, unserved, missing or unreachable.")
    said = serializers.CharField()
    base_url = serializers.CharField(help_text="The address of the OpenAI-compatible server.")
    model = serializers.CharField(help_text="The `model` of a request to it.")


class Sharing(Input):
    shared = serializers.BooleanField(help_text="False: only its own project and those that have used it.")


class ModelChanges(Settings):
    """Read changes of a model. What is left out stays as it is."""

    endpoint = serializers.CharField(required=False, allow_blank=True)
    served_name = serializers.CharField(required=False, allow_blank=True, max_length=500)
    key = serializers.CharField(
        required=False, allow_blank=True, write_only=True, help_text='Never shown. "" forgets it.'
    )


class SettingsOut(Settings):
    endpoint = serializers.SerializerMethodField(help_text="The address, without a name or password in it.")
    served_name = serializers.CharField()
    has_key = serializers.SerializerMethodField(help_text="Whether a key is kept for its endpoint.")

    def get_endpoint(self, model: LanguageModel) -> str:
        return address_of(model) if model.endpoint else ""

    def get_has_key(self, model: LanguageModel) -> bool:
        return bool(model.sealed_key)


class OneQuestion(Input):
    question = serializers.CharField(required=False, default="", allow_blank=True, max_length=LONGEST_QUESTION)


class CheckedOut(serializers.Serializer):
    is_ok = serializers.BooleanField()
    question = serializers.CharField()
    problem = serializers.CharField(
        help_text="address, tls, private, key, name, context, template, throttled, quota, time-out, cut, protocol, "
        'refused, failed or empty; "" when it answered.'
    )
    what = serializers.CharField(help_text="What is wrong.")
    remedy = serializers.CharField()
    offered = serializers.ListField(child=serializers.CharField(), help_text="Names that the server lists.")
    answer = serializers.CharField()
    reasoning = serializers.CharField()
    tokens = serializers.IntegerField(allow_null=True)
    prompt_tokens = serializers.IntegerField(allow_null=True)
    seconds = serializers.FloatField()
    cost = serializers.DecimalField(14, 8, allow_null=True, help_text="Dollars, by the model's prices.")


class ArenaEntry(Input):
    project = serializers.SlugField(max_length=50)
