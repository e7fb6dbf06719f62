"""The API of this app, mounted below /api/v1/."""

from django.urls import path
from rest_framework.routers import SimpleRouter

from evaluation.api import model_files
from evaluation.api.evaluations import Evaluations, run_items
from evaluation.api.leaderboard import leaderboard
from evaluation.api.promotions import Promotions
from evaluation.routes import compare, decisions, held, quality, ranks

router = SimpleRouter()
router.register("evaluations", Evaluations)
router.register("promotions", Promotions)

urlpatterns = [
    path("leaderboard/", leaderboard),
    *ranks.api_urlpatterns,
    *compare.api_urlpatterns,
    path("runs/<str:pk>/items/", run_items),
    path("models/<str:pk>/card/", model_files.card),
    path("runs/<str:pk>/export/<str:name>", model_files.export_file),
    *decisions.api_urlpatterns,
    *quality.api_urlpatterns,
    *held.api_urlpatterns,
    *router.urls,
]
