"""The API of this app, mounted below /api/v1/."""

from django.urls import include, path
from rest_framework.routers import SimpleRouter

from annotate.arena import api as battles
from annotate.arena import history_api as my_battles
from annotate.data.datasets import api as datasets
from annotate.data.exports import api as exports
from annotate.data.imports import api as imports
from annotate.data.prompts import api as prompts
from annotate.data.uploads import api as uploads
from annotate.labelling import api as labelling
from annotate.labelling.adjudication import api as adjudication
from annotate.labelling.gold import api as gold
from annotate.labelling.history import api as history
from annotate.labelling.records import api as feedback
from annotate.labelling.scales import api as scales
from annotate.labelling.shortcuts import api as shortcuts
from annotate.labelling.tutorial import api as tutorial
from annotate.language_models import api as registry
from annotate.projects import api as projects
from annotate.projects.accounts import api as accounts
from annotate.projects.accounts import tokens_api as my_tokens
from annotate.projects.people import api as people
from annotate.projects.webhooks import api as webhooks
from annotate.red_team import api as red_team

judging_router = SimpleRouter()
judging_router.register("assignments", labelling.Assignments)

router = SimpleRouter()
router.register("projects", projects.Projects)
router.register("models", registry.Models)
router.register("prompts", prompts.Prompts)
router.register("completions", prompts.Completions)
router.register("ratings", feedback.Ratings)
router.register("comparisons", feedback.Comparisons)
router.register("demonstrations", feedback.Demonstrations)
router.register("rankings", feedback.Rankings)
router.register("spans", feedback.Spans)
router.register("flags", feedback.Flags)
router.register("datasets", datasets.Datasets)
router.register("imports", imports.Imports)
router.register("webhooks", webhooks.Webhooks)

urlpatterns = [
    # First: patterns are tried one after the other, and nothing is asked for as often as these.
    path("projects/<slug:slug>/assignments/", labelling.next_assignment),
    path("", include(judging_router.urls)),
    path("auth/token/", accounts.token),
    path("auth/token/renew/", my_tokens.renew_token),
    path("auth/tokens/", my_tokens.my_tokens),
    path("auth/tokens/<str:pk>/", my_tokens.my_token),
    path("invitations/accept/", people.accept),
    path("harm-budget/", red_team.budget),
    path("projects/<slug:slug>/talks/", red_team.begin),
    path("projects/<slug:slug>/attacks/", red_team.attacks),
    path("projects/<slug:slug>/attacks/<str:pk>/withdraw/", red_team.withdraw),
    path("talks/<str:token>/", red_team.talk),
    path("talks/<str:token>/say/", red_team.say),
    path("talks/<str:token>/rate/", red_team.rate),
    path("projects/<slug:slug>/invitations/", people.project_invitations),
    path("projects/<slug:slug>/invitations/<str:pk>/revoke/", people.revoke),
    path("projects/<slug:slug>/join/", people.join),
    path("projects/<slug:slug>/audit/", people.audit_trail),
    path("projects/<slug:slug>/guidelines/read/", tutorial.guidelines_read),
    path("projects/<slug:slug>/message/", tutorial.message),
    path("projects/<slug:slug>/tutorial/", tutorial.next_lesson),
    path("assignments/<str:pk>/lesson/", tutorial.lesson),
    path("projects/<slug:slug>/gold/", gold.project_gold),
    path("projects/<slug:slug>/gold/<str:pk>/", gold.gold_item),
    path("projects/<slug:slug>/pauses/", gold.pauses),
    path("projects/<slug:slug>/disagreements/", adjudication.project_disagreements),
    path("projects/<slug:slug>/disagreements/<str:item>/", adjudication.judged_item),
    path("projects/<slug:slug>/adjudications/", adjudication.take),
    path("assignments/<str:pk>/send-back/", adjudication.send_back),
    path("projects/<slug:slug>/complaints/", adjudication.complaints),
    path("projects/<slug:slug>/complaints/<str:pk>/", adjudication.decide_prompt),
    path("projects/<slug:slug>/queue/", adjudication.coming_next),
    path("projects/<slug:slug>/judgements/mine/", history.my_annotations),
    path("projects/<slug:slug>/scales/", scales.scales),
    path("projects/<slug:slug>/scales/<str:pk>/", scales.scale),
    path("battles/", battles.start),
    path("projects/<slug:slug>/battles/mine/", my_battles.my_battles),
    path("battles/<str:token>/", battles.read),
    path("battles/<str:token>/vote/", battles.vote),
    path("battles/<str:token>/proof/", battles.puzzle),
    path("battles/<str:token>/stop/", battles.stop),
    path("battles/<str:token>/turns/", battles.ask_on),
    path("projects/<slug:slug>/export/", exports.export_project),
    path("comparisons/import/", imports.import_comparisons),
    path("datasets/upload/", uploads.upload_rows),
    path("shortcuts/", shortcuts.shortcuts),
    path("", include(router.urls)),
]
