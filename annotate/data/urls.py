"""Addresses of data, from prompts to exports: pages, and below /api/v1/ their twins for programs."""

from django.urls import path
from rest_framework.routers import SimpleRouter

from annotate.data.add_data import api as add_data_api
from annotate.data.add_data import pages as add_data_pages
from annotate.data.datasets import api as datasets_api
from annotate.data.datasets import freeze_pages
from annotate.data.datasets import pages as datasets_pages
from annotate.data.exports import api as exports_api
from annotate.data.exports import pages as exports_pages
from annotate.data.imports import api as imports_api
from annotate.data.imports import pages as imports_pages
from annotate.data.overview import pages as overview_pages
from annotate.data.prompts import api as prompts_api
from annotate.data.prompts import pages as prompts_pages
from annotate.data.uploads import api as uploads_api

router = SimpleRouter()
router.register("prompts", prompts_api.Prompts)
router.register("completions", prompts_api.Completions)
router.register("datasets", datasets_api.Datasets)
router.register("dataset-freezes", datasets_api.DatasetFreezes)
router.register("imports", imports_api.Imports)

urlpatterns = [
    path("p/<slug:slug>/data/", overview_pages.overview, name="data"),
    path("p/<slug:slug>/data/datasets/", datasets_pages.datasets, name="datasets"),
    path("p/<slug:slug>/data/datasets/freezes/<int:pk>/", freeze_pages.freeze, name="dataset-freeze"),
    path("p/<slug:slug>/data/datasets/freezes/<int:pk>/cancel/", freeze_pages.cancel, name="dataset-freeze-cancel"),
    path("p/<slug:slug>/data/prompts/", prompts_pages.prompts, name="prompts"),
    path("p/<slug:slug>/data/prompts/<int:pk>/", prompts_pages.prompt, name="prompt"),
    path("p/<slug:slug>/data/prompts/<int:pk>/retire/", prompts_pages.retire, name="prompt-retire"),
    path("p/<slug:slug>/data/add/", add_data_pages.add_data, name="add-data"),
    path("p/<slug:slug>/data/upload/", add_data_pages.old_upload, name="upload"),
    path("p/<slug:slug>/data/export/", exports_pages.export, name="export"),
    path("p/<slug:slug>/data/imports/", imports_pages.imports, name="imports"),
    path("p/<slug:slug>/data/imports/<int:pk>/", imports_pages.one_import, name="import"),
    path("p/<slug:slug>/data/imports/<int:pk>/problems/", imports_pages.problems, name="import-problems"),
    path("p/<slug:slug>/data/imports/<int:pk>/cancel/", imports_pages.act, {"what": "cancel"}, name="import-cancel"),
    path("p/<slug:slug>/data/imports/<int:pk>/go-on/", imports_pages.act, {"what": "go-on"}, name="import-go-on"),
    path("datasets/<int:pk>/", datasets_pages.dataset, name="dataset"),
    path("datasets/<int:pk>/download/<str:format>/", datasets_pages.download, name="dataset-download"),
]

api_urlpatterns = [
    path("projects/<slug:slug>/export/", exports_api.export_project),
    path("comparisons/import/", imports_api.import_comparisons),
    path("datasets/upload/", uploads_api.upload_rows),
    path("datasets/hub/", add_data_api.hub_dataset),
    path("imports/hub/", add_data_api.hub_import),
]
