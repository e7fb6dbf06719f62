"""Addresses of alerts, below /api/v1/; pages show them on the project's own page and under Notices."""

from django.urls import path

from evaluation.alerts import api

api_urlpatterns = [path("projects/<slug:slug>/alerts/", api.alert_list)]
