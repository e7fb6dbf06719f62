"""The API of this app, mounted below /api/v1/."""

from django.urls import path
from rest_framework.routers import SimpleRouter

from evaluation.annotator_quality.pages import urls as quality
from evaluation.leaderboard.api.leaderboard import leaderboard
from evaluation.leaderboard.pages import urls as ranks
from evaluation.measures.api.evaluation_runs import Evaluations, run_items
from evaluation.measures.pages import urls as compare
from evaluation.promotion.api.promotions import Promotions
from evaluation.promotion.pages import urls as decisions
from evaluation.registry import api as model_files
from evaluation.vote_integrity import urls as vote_integrity

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
    *vote_integrity.api_urlpatterns,
    *router.urls,
]
