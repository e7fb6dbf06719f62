"""The API of this app, mounted below /api/v1/."""

from django.urls import path
from rest_framework.routers import SimpleRouter

from evaluation.api import models_api
from evaluation.api.evaluations_api import Evaluations, run_items
from evaluation.api.leaderboard_api import Promotions, leaderboard
from evaluation.routes import compare_urls, decisions_urls, held_urls, quality_urls, rank_urls

router = SimpleRouter()
router.register("evaluations", Evaluations)
router.register("promotions", Promotions)

urlpatterns = [
    path("leaderboard/", leaderboard),
    *rank_urls.api_urlpatterns,
    *compare_urls.api_urlpatterns,
    path("runs/<str:pk>/items/", run_items),
    path("models/<str:pk>/card/", models_api.card),
    path("runs/<str:pk>/export/<str:name>", models_api.export_file),
    *decisions_urls.api_urlpatterns,
    *quality_urls.api_urlpatterns,
    *held_urls.api_urlpatterns,
    *router.urls,
]
