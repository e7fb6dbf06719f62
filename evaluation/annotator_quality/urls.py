"""Addresses of judging the annotators: pages, and below /api/v1/ their twins for programs."""

from django.urls import path, register_converter
from django.urls.converters import StringConverter

from evaluation.annotator_quality import api, exclusion_api
from evaluation.annotator_quality.pages import exclusion_pages, quality_pages


class _Form(StringConverter):
    regex = "csv|json"


register_converter(_Form, "quality_form")
_QUALITY = "p/<slug:slug>/quality/"

urlpatterns = [
    path(_QUALITY, quality_pages.page, name="quality"),
    path(_QUALITY + "judges.<quality_form:form>", quality_pages.annotators_file, name="quality-annotators-file"),
    path(_QUALITY + "pairs.<quality_form:form>", quality_pages.pairs_file, name="quality-pairs-file"),
    path(_QUALITY + "mine/", quality_pages.mine, name="quality-mine"),
    path(_QUALITY + "mine/withdraw/", exclusion_pages.withdraw, name="quality-withdraw"),
    path(_QUALITY + "judges/<int:pk>/", quality_pages.annotator, name="quality-annotator"),
    path(_QUALITY + "judges/<int:pk>/exclude/", exclusion_pages.exclude, name="quality-exclude"),
    path(_QUALITY + "imported/", quality_pages.imported_judge, name="quality-imported"),
    path(_QUALITY + "imported/exclude/", exclusion_pages.exclude_imported, name="quality-exclude-imported"),
    path(_QUALITY + "exclusions/", exclusion_pages.acts, name="quality-exclusions"),
    path(_QUALITY + "exclusions/<int:pk>/undo/", exclusion_pages.undo, name="quality-undo"),
]

_API = "projects/<slug:slug>/"

api_urlpatterns = [
    path(_API + "quality/", api.quality),
    path(_API + "quality/pairs/", api.pairs),
    path(_API + "quality/mine/", api.mine),
    path(_API + "quality/judges/<str:pk>/", api.annotator),
    path(_API + "quality/judges/<str:pk>/touched/", exclusion_api.touched),
    path(_API + "quality/imported/", api.imported),
    path(_API + "quality/imported/touched/", exclusion_api.imported_touched),
    path(_API + "exclusions/", exclusion_api.exclusions),
    path(_API + "exclusions/<str:pk>/undo/", exclusion_api.undo),
]
