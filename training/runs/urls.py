"""Addresses of runs: pages, and below /api/v1/ their twins for programs."""

from django.urls import path
from rest_framework.routers import SimpleRouter

from training.runs import api
from training.runs.pages import comparison, estimates, order_upload, pause_choice, run_pages

router = SimpleRouter()
router.register("runs", api.Runs)

urlpatterns = [
    path("p/<slug:slug>/runs/", run_pages.runs, name="runs"),
    path("p/<slug:slug>/runs/new/", run_pages.choose_kind, name="choose-kind"),
    path("p/<slug:slug>/runs/new/<slug:kind>/", run_pages.new_run, name="new-run"),
    path("p/<slug:slug>/runs/new/pretrain/estimate/", estimates.pretraining, name="estimate-pretraining"),
    path("p/<slug:slug>/runs/new/<slug:kind>/line/", estimates.of_kind, name="estimate-run"),
    path("p/<slug:slug>/runs/from-file/", order_upload.from_file, name="run-from-file"),
    path("p/<slug:slug>/runs/compare/", comparison.page, name="compare-runs"),
    path("runs/<int:run_id>/", run_pages.run, name="run"),
    path("runs/<int:run_id>/metrics.json", run_pages.run_metrics, name="run-figures"),
    path("runs/<int:run_id>/tensorboard/", run_pages.run_events, name="run-events"),
    path("runs/<int:run_id>/order.yaml", order_upload.download, name="run-yaml"),
    path("runs/<int:run_id>/log.txt", run_pages.log, name="run-log"),
    path("runs/<int:run_id>/cancel/", run_pages.cancel, name="cancel-run"),
    path("runs/<int:run_id>/priority/", run_pages.set_priority, name="set-run-priority"),
    path("runs/<int:run_id>/resume/", run_pages.resume, name="resume-run"),
    path("runs/<int:run_id>/choose/", pause_choice.choose, name="choose-at-pause"),
    path("runs/<int:run_id>/again/", run_pages.queue_again, name="queue-again"),
]
