"""What drf-spectacular makes the API's schema and its documentation of; settings.py takes it over."""

from __future__ import annotations

SPECTACULAR_SETTINGS = {
    "TITLE": "Assay",
    "DESCRIPTION": "All that a person can do in a page, a program can do here, by the same rules. "
    "Send `Authorization: Token …`; `POST auth/token/` makes one.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "annotate.core.api.exception_handler.refusals_of_all",
        "config.api_summaries.summarise",
    ],
    "ENUM_NAME_OVERRIDES": {
        "Judge": "annotate.models.AnnotatorKind",
        "Side": "annotate.models.Split",
        "FeedbackStatus": "annotate.models.Status",
        "DatasetKind": "annotate.models.Dataset.Kind",
        "FrozenKind": "annotate.data.datasets.selections.FROZEN_KINDS",
        "ModelKind": "annotate.models.LanguageModel.Kind",
        "AssignmentKind": "annotate.models.Assignment.Kind",
        "AssignmentState": "annotate.models.Assignment.State",
        "ScaleKind": "annotate.models.Scale.Kind",
        "RunState": "training.models.Run.State",
        "RunPriority": "training.models.Run.Priority",
        "ExperimentState": "evaluation.models.Experiment.State",
        "RoundsState": "evaluation.models.RoundSeries.State",
        "Role": "annotate.models.Role",
        "NoticeMail": "annotate.models.NoticeMail",
        "AlertKind": "evaluation.alerts.alert_kinds.CHOICES",
        "VerdictForm": "evaluation.models.Rubric.Form",
        "TokenScope": "annotate.models.ApiToken.Scope",
        "TurnRole": ["system", "user", "assistant"],
        "FileFormat": "annotate.data.rows.row_files.FORMATS",
        "PairsFormat": ["hh-rlhf"],
        # Named as when one operation had them.
        "RowsUploadKindEnum": "annotate.data.uploads.uploaded_rows.KINDS",
        "ImportFileFormatEnum": "annotate.data.imports.actions.FORMATS",
    },
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_SETTINGS": {"deepLinking": True, "docExpansion": "none", "filter": True},
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
}
