"""The API of this app, mounted below /api/v1/."""

from django.urls import path
from rest_framework.routers import SimpleRouter

from training.api import corpora_api, disk_api, instruct_api
from training.api.runs_api import Runs

router = SimpleRouter()
router.register("runs", Runs)

urlpatterns = [
    path("corpora/", corpora_api.corpora_sources),
    path("disk/", disk_api.use),
    path("disk/prune/", disk_api.prune),
    path("instructions/", instruct_api.create),
    path("instructions/preview/", instruct_api.look),
    path("instructions/templates/", instruct_api.templates),
    *router.urls,
]
