from django.urls import path

from evaluation.core import kept_pages

urlpatterns = [
    path("p/<slug:slug>/figures/<int:pk>/cancel/", kept_pages.cancel, name="figures-cancel"),
    path("p/<slug:slug>/figures/<int:pk>/go-on/", kept_pages.go_on, name="figures-go-on"),
]
