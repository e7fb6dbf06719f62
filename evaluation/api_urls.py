"""The API of this app, mounted below /api/v1/."""

from django.urls import path
from rest_framework.routers import SimpleRouter

from evaluation import models_api
from evaluation.api import Evaluations, Promotions, leaderboard

router = SimpleRouter()
router.register("evaluations", Evaluations)
router.register("promotions", Promotions)

urlpatterns = [
    path("leaderboard/", leaderboard),
    path("models/<str:pk>/card/", models_api.card),
    path("runs/<str:pk>/export/<str:name>", models_api.export_file),
    *router.urls,
]
