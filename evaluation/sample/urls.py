from django.urls import path

from evaluation.sample import pages

urlpatterns = [
    path("tour/", pages.tour, name="tour"),
    path("sample/remove/", pages.remove, name="remove-sample"),
]
