"""Addresses of the decision: pages, and below /api/v1/ their twins for programs."""

from django.urls import path
from rest_framework.routers import SimpleRouter

from evaluation.promotion.api import decisions as api
from evaluation.promotion.api import default_model, promotions
from evaluation.promotion.pages import decisions_page as pages

router = SimpleRouter()
router.register("promotions", promotions.Promotions)

urlpatterns = [
    path("p/<slug:slug>/leaderboard/promote/", pages.promote_named, name="promote"),
    path("p/<slug:slug>/decisions/", pages.decisions, name="decisions"),
    path("p/<slug:slug>/decisions/rule/", pages.rule, name="promotion-rule"),
    path("p/<slug:slug>/decisions/<int:pk>/promote/", pages.promote, name="promote-candidate"),
    path("p/<slug:slug>/decisions/roll-back/", pages.roll_back, name="roll-back"),
    path("p/<slug:slug>/ask-next/", pages.ask, name="ask-next"),
    path("p/<slug:slug>/cost/", pages.cost, name="cost"),
    path("notices/", pages.notice_list, name="notices"),
]

api_urlpatterns = [
    path("projects/<slug:slug>/promotion-rule/", api.promotion_rule),
    path("projects/<slug:slug>/candidacies/", api.candidacies),
    path("projects/<slug:slug>/decisions/", api.decisions),
    path("projects/<slug:slug>/roll-back/", api.roll_back),
    path("projects/<slug:slug>/default-model/", default_model.default_model),
    path("projects/<slug:slug>/default-model/v1/chat/completions", default_model.chat_completions),
    path("projects/<slug:slug>/sampling-rates/", api.sampling_rates),
    path("projects/<slug:slug>/ask-next/", api.ask_next_items),
    path("projects/<slug:slug>/costs/", api.cost_list),
    path("notices/", api.notice_list),
    path("notices/seen/", api.notices_seen),
]
