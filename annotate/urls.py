"""Pages of this app. Each subject's are in its `pages`."""

from django.urls import path

from annotate.arena import pages as arena
from annotate.data.datasets import pages as data
from annotate.data.exports import pages as exports
from annotate.data.imports import pages as imports
from annotate.data.uploads import pages as uploads
from annotate.labelling import pages as labelling
from annotate.labelling.adjudication import pages as adjudicate
from annotate.labelling.gold import pages as gold
from annotate.labelling.history import audit_pages as audit_page
from annotate.labelling.history import pages as history
from annotate.labelling.prerequisites import pages as prerequisites
from annotate.labelling.records import pages as records
from annotate.labelling.scales import pages as scales
from annotate.labelling.shortcuts import pages as shortcuts
from annotate.labelling.tutorial import pages as tutorial
from annotate.language_models import pages as models
from annotate.playground import pages as playground
from annotate.projects import pages as projects
from annotate.projects.accounts import pages as tokens
from annotate.projects.people import pages as people
from annotate.projects.webhooks import pages as webhooks
from annotate.red_team import pages as red_team

urlpatterns = [
    path("", projects.home, name="home"),
    path("projects/new/", projects.new, name="new-project"),
    path("p/<slug:slug>/", projects.project, name="project"),
    path("p/<slug:slug>/settings/", projects.settings, name="project-settings"),
    path("p/<slug:slug>/guidelines/", projects.guidelines, name="guidelines"),
    path("p/<slug:slug>/people/", people.people, name="people"),
    path("p/<slug:slug>/members/", people.members, name="members"),
    path("p/<slug:slug>/invite/", people.invite, name="invite"),
    path("p/<slug:slug>/invitations/<int:pk>/revoke/", people.revoke, name="revoke-invitation"),
    path("p/<slug:slug>/join/", people.join, name="join"),
    path("p/<slug:slug>/audit/", audit_page.audit_trail, name="audit"),
    path("invitations/<str:token>/", people.invitation, name="invitation"),
    path("p/<slug:slug>/red-team/", red_team.red_team_page, name="red-team"),
    path("p/<slug:slug>/red-team/rate/", red_team.rate, name="red-team-rate"),
    path("p/<slug:slug>/red-team/attacks/", red_team.attacks, name="attacks"),
    path("p/<slug:slug>/red-team/attacks/<int:pk>/withdraw/", red_team.withdraw, name="attack-withdraw"),
    path("account/harm/", red_team.harm, name="harm"),
    path("account/", people.account, name="account"),
    path("account/tokens/", tokens.tokens_page, name="tokens"),
    path("account/tokens/<int:pk>/revoke/", tokens.revoke, name="revoke-token"),
    path("p/<slug:slug>/judge/", labelling.annotate, name="annotate"),
    path("p/<slug:slug>/judge/skip/", labelling.skip, name="annotate-skip"),
    path("p/<slug:slug>/judge/undo/", labelling.undo, name="annotate-undo"),
    path("p/<slug:slug>/judge/keep/", labelling.keep, name="annotate-keep"),
    path("p/<slug:slug>/judge/flag/", labelling.flag, name="annotate-flag"),
    path("p/<slug:slug>/judge/history/", history.history, name="annotate-history"),
    path("p/<slug:slug>/judge/<int:pk>/", labelling.edit, name="annotate-edit"),
    path("p/<slug:slug>/reading/", prerequisites.reading, name="reading"),
    path("p/<slug:slug>/tutorial/", tutorial.tutorial, name="tutorial"),
    path("p/<slug:slug>/tutorial/<int:pk>/", tutorial.lesson, name="tutorial-lesson"),
    path("p/<slug:slug>/adjudicate/", adjudicate.adjudicate, name="adjudicate"),
    path("p/<slug:slug>/adjudicate/<str:key>/", adjudicate.item, name="adjudicate-item"),
    path("p/<slug:slug>/send-back/<int:pk>/", adjudicate.send_back, name="send-back"),
    path("p/<slug:slug>/prompts/<int:pk>/decide/", adjudicate.decide_prompt, name="decide-prompt"),
    path("p/<slug:slug>/gold/", gold.gold_page, name="gold"),
    path("p/<slug:slug>/gold/lift/", gold.lift, name="gold-lift"),
    path("p/<slug:slug>/gold/<int:pk>/", gold.change, name="gold-change"),
    path("p/<slug:slug>/scales/", scales.scales, name="scales"),
    path("shortcuts/", shortcuts.shortcuts, name="shortcuts"),
    path("p/<slug:slug>/arena/", arena.arena, name="arena"),
    path("p/<slug:slug>/arena/history/", arena.history, name="arena-history"),
    path("p/<slug:slug>/arena/<uuid:token>/", arena.battle, name="arena-battle"),
    path("p/<slug:slug>/arena/<uuid:token>/vote/", arena.vote, name="arena-vote"),
    path("p/<slug:slug>/arena/<uuid:token>/proof/", arena.puzzle, name="arena-proof"),
    path("p/<slug:slug>/arena/<uuid:token>/stop/", arena.stop, name="arena-stop"),
    path("p/<slug:slug>/arena/<uuid:token>/turn/", arena.turn, name="arena-turn"),
    path("p/<slug:slug>/models/<int:pk>/", models.arena_entry, name="arena-entry"),
    path("models/<int:pk>/retire/", models.retire, name="model-retire"),
    path("models/<int:pk>/bring-back/", models.bring_back, name="model-bring-back"),
    path("models/<int:pk>/share/", models.share, name="model-share"),
    path("models/<int:pk>/serving/", models.model_serving, name="model-serving"),
    path("p/<slug:slug>/playground/", playground.of_project, name="project-playground"),
    path("models/<int:pk>/playground/", playground.page, name="playground"),
    path("models/<int:pk>/playground/keep/", playground.keep, name="playground-keep"),
    path("p/<slug:slug>/data/", data.data, name="data"),
    path("p/<slug:slug>/data/upload/", uploads.upload_rows, name="upload"),
    path("p/<slug:slug>/data/export/", exports.export_page, name="export"),
    path("p/<slug:slug>/data/imports/", imports.imports, name="imports"),
    path("p/<slug:slug>/data/imports/<int:pk>/", imports.one_import, name="import"),
    path("p/<slug:slug>/data/imports/<int:pk>/problems/", imports.problems, name="import-problems"),
    path("p/<slug:slug>/data/imports/<int:pk>/cancel/", imports.act, {"what": "cancel"}, name="import-cancel"),
    path("p/<slug:slug>/data/imports/<int:pk>/go-on/", imports.act, {"what": "go-on"}, name="import-go-on"),
    path("p/<slug:slug>/webhooks/", webhooks.webhooks_page, name="webhooks"),
    path("p/<slug:slug>/webhooks/<int:pk>/", webhooks.webhook, name="webhook"),
    path("p/<slug:slug>/webhooks/<int:pk>/again/<int:delivery>/", webhooks.again, name="webhook-again"),
    path("datasets/<int:pk>/", data.dataset, name="dataset"),
    path("datasets/<int:pk>/download/<str:format>/", data.download, name="dataset-download"),
    path("p/<slug:slug>/votes/", records.votes_page, name="votes"),
    path("p/<slug:slug>/votes/<str:kind>/<int:pk>/status/", records.vote_status, name="vote-status"),
]
