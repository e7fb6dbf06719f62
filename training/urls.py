"""Pages of this app."""

from django.urls import path

from training import views

urlpatterns = [
    path("p/<slug:slug>/runs/", views.runs, name="runs"),
    path("p/<slug:slug>/runs/new/<slug:kind>/", views.new_run, name="new-run"),
    path("runs/<int:run_id>/", views.run, name="run"),
    path("runs/<int:run_id>/metrics.json", views.run_metrics, name="run-figures"),
    path("runs/<int:run_id>/cancel/", views.cancel, name="cancel-run"),
    path("runs/<int:run_id>/resume/", views.resume, name="resume-run"),
]
