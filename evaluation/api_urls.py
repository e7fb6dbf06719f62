"""The API of this app, mounted below /api/v1/: each subject's is in its `urls`."""

from evaluation.alerts import urls as alerts
from evaluation.annotator_quality import urls as annotator_quality
from evaluation.core import urls as core
from evaluation.experiments import urls as experiments
from evaluation.first_model import urls as first_model
from evaluation.judge_models import urls as judge_models
from evaluation.leaderboard import urls as leaderboard
from evaluation.measures import urls as measures
from evaluation.promotion import urls as promotion
from evaluation.registry import urls as registry
from evaluation.rounds import urls as rounds
from evaluation.vote_integrity import urls as vote_integrity

urlpatterns = [
    *leaderboard.api_urlpatterns,
    *measures.api_urlpatterns,
    *registry.api_urlpatterns,
    *promotion.api_urlpatterns,
    *experiments.api_urlpatterns,
    *rounds.api_urlpatterns,
    *annotator_quality.api_urlpatterns,
    *core.api_urlpatterns,
    *judge_models.api_urlpatterns,
    *vote_integrity.api_urlpatterns,
    *first_model.api_urlpatterns,
    *alerts.api_urlpatterns,
    # Last: `evaluations/<pk>/` would take `evaluations/compare/`.
    *measures.router.urls,
    *promotion.router.urls,
]
