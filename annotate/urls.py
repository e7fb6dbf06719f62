"""Pages of this app. Each group below belongs to one module in annotate/views."""

from django.urls import path

from annotate.views import arena, data, home, judge, models, playground, projects, uploads, votes

urlpatterns = [
    path("", home.home, name="home"),
    path("projects/new/", projects.new, name="new-project"),
    path("p/<slug:slug>/", projects.project, name="project"),
    path("p/<slug:slug>/settings/", projects.settings, name="project-settings"),
    path("p/<slug:slug>/guidelines/", projects.guidelines, name="guidelines"),
    path("p/<slug:slug>/members/", projects.members, name="members"),
    path("p/<slug:slug>/judge/", judge.judge, name="judge"),
    path("p/<slug:slug>/judge/skip/", judge.skip, name="judge-skip"),
    path("p/<slug:slug>/judge/undo/", judge.undo, name="judge-undo"),
    path("p/<slug:slug>/judge/again/", judge.again, name="judge-again"),
    path("p/<slug:slug>/arena/", arena.arena, name="arena"),
    path("p/<slug:slug>/arena/history/", arena.history, name="arena-history"),
    path("p/<slug:slug>/arena/<uuid:token>/", arena.battle, name="arena-battle"),
    path("p/<slug:slug>/arena/<uuid:token>/vote/", arena.vote, name="arena-vote"),
    path("p/<slug:slug>/models/<int:pk>/", models.arena_entry, name="arena-entry"),
    path("models/<int:pk>/retire/", models.retire, name="model-retire"),
    path("models/<int:pk>/bring-back/", models.bring_back, name="model-bring-back"),
    path("models/<int:pk>/serving/", models.model_serving, name="model-serving"),
    path("p/<slug:slug>/playground/", playground.of_project, name="project-playground"),
    path("models/<int:pk>/playground/", playground.page, name="playground"),
    path("models/<int:pk>/playground/keep/", playground.keep, name="playground-keep"),
    path("p/<slug:slug>/data/", data.data, name="data"),
    path("p/<slug:slug>/data/upload/", uploads.upload_rows, name="upload"),
    path("datasets/<int:pk>/", data.dataset, name="dataset"),
    path("datasets/<int:pk>/download/<str:format>/", data.download, name="dataset-download"),
    path("p/<slug:slug>/votes/", votes.votes_page, name="votes"),
    path("p/<slug:slug>/votes/<str:kind>/<int:pk>/status/", votes.vote_status, name="vote-status"),
]
