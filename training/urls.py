"""Pages of this app."""

from django.urls import path

from training.corpora import pages as catalogue
from training.instructions import pages as instruct
from training.runs.pages import comparison as compare
from training.runs.pages import estimates
from training.runs.pages import order_upload as orders
from training.runs.pages import pause_choice as pauses
from training.runs.pages import run_pages as runs
from training.storage import pages as disk

urlpatterns = [
    path("p/<slug:slug>/runs/", runs.runs, name="runs"),
    path("p/<slug:slug>/runs/new/", runs.choose_kind, name="choose-kind"),
    path("p/<slug:slug>/runs/new/<slug:kind>/", runs.new_run, name="new-run"),
    path("p/<slug:slug>/runs/new/pretrain/estimate/", estimates.pretraining, name="estimate-pretraining"),
    path("p/<slug:slug>/runs/from-file/", orders.from_file, name="run-from-file"),
    path("p/<slug:slug>/runs/compare/", compare.page, name="compare-runs"),
    path("p/<slug:slug>/runs/disk/", disk.page, name="disk"),
    path("p/<slug:slug>/runs/disk/prune/", disk.prune, name="prune"),
    path("p/<slug:slug>/data/catalogue/", catalogue.catalogue, name="catalogue"),
    path("p/<slug:slug>/data/catalogue/upload/", catalogue.upload, name="corpus-upload"),
    path("p/<slug:slug>/data/instruct/", instruct.instructions, name="instruct"),
    path("runs/<int:run_id>/", runs.run, name="run"),
    path("runs/<int:run_id>/metrics.json", runs.run_metrics, name="run-figures"),
    path("runs/<int:run_id>/order.yaml", orders.download, name="run-yaml"),
    path("runs/<int:run_id>/cancel/", runs.cancel, name="cancel-run"),
    path("runs/<int:run_id>/resume/", runs.resume, name="resume-run"),
    path("runs/<int:run_id>/choose/", pauses.choose, name="choose-at-pause"),
    path("runs/<int:run_id>/again/", runs.queue_again, name="queue-again"),
]
