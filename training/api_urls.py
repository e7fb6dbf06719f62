"""The API of this app, mounted below /api/v1/."""

from django.urls import path
from rest_framework.routers import SimpleRouter

from training.corpora import api as corpora
from training.instructions import api as instruct
from training.runs.api import Runs
from training.storage import api as disk

router = SimpleRouter()
router.register("runs", Runs)

urlpatterns = [
    path("corpora/", corpora.corpora_sources),
    path("disk/", disk.use),
    path("disk/prune/", disk.prune),
    path("instructions/", instruct.create),
    path("instructions/preview/", instruct.look),
    path("instructions/templates/", instruct.templates),
    *router.urls,
]
