"""Addresses of the playground: pages alone, for programs ask the models themselves."""

from django.urls import path

from annotate.playground import pages

urlpatterns = [
    path("p/<slug:slug>/playground/", pages.of_project, name="project-playground"),
    path("models/<int:pk>/playground/", pages.page, name="playground"),
    path("models/<int:pk>/playground/keep/", pages.keep, name="playground-keep"),
]
