"""Pages of this app: each subject's are in its `urls`."""

from evaluation.alerts import urls as alerts
from evaluation.annotator_quality import urls as annotator_quality
from evaluation.core import urls as core
from evaluation.experiments import urls as experiments
from evaluation.first_model import urls as first_model
from evaluation.judge_models import urls as judge_models
from evaluation.leaderboard import urls as leaderboard
from evaluation.measures import urls as measures
from evaluation.measures.pages import new_evaluation
from evaluation.promotion import urls as promotion
from evaluation.registry import urls as registry
from evaluation.rounds import urls as rounds
from evaluation.sample import urls as sample
from evaluation.vote_integrity import urls as vote_integrity
from training.runs.present.kind_sections import FORM_PAGES, FormPage

FORM_PAGES.register(FormPage("evaluate", new_evaluation.page))  # here, since urls alone import pages

urlpatterns = [
    *leaderboard.urlpatterns,
    *alerts.urlpatterns,
    *registry.urlpatterns,
    *measures.urlpatterns,
    *promotion.urlpatterns,
    *experiments.urlpatterns,
    *rounds.urlpatterns,
    *annotator_quality.urlpatterns,
    *judge_models.urlpatterns,
    *vote_integrity.urlpatterns,
    *first_model.urlpatterns,
    *sample.urlpatterns,
    *core.urlpatterns,
]
