from django.urls import path

from evaluation.core import kept_api, kept_pages

urlpatterns = [
    path("p/<slug:slug>/figures/<int:pk>/cancel/", kept_pages.cancel, name="figures-cancel"),
    path("p/<slug:slug>/figures/<int:pk>/go-on/", kept_pages.go_on, name="figures-go-on"),
]

api_urlpatterns = [
    path("projects/<slug:slug>/figures/<str:pk>/cancel/", kept_api.cancel),
    path("projects/<slug:slug>/figures/<str:pk>/go-on/", kept_api.go_on),
]
