"""Addresses of alerts: they are shown on the project's own page and under Notices, and dismissed where they lead to."""

from django.urls import path

from evaluation.alerts import api, pages

urlpatterns = [path("p/<slug:slug>/alerts/<int:pk>/dismiss/", pages.dismissal, name="alert-dismiss")]

api_urlpatterns = [
    path("projects/<slug:slug>/alerts/", api.alert_list),
    path("projects/<slug:slug>/alerts/<str:pk>/dismiss/", api.alert_dismissal),
]
