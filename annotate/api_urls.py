"""The API of this app, mounted below /api/v1/."""

from django.urls import include, path
from rest_framework.routers import SimpleRouter

from annotate.api import (
    accounts,
    battles,
    datasets,
    feedback,
    imports,
    judging,
    people,
    projects,
    prompts,
    registry,
    uploads,
)

router = SimpleRouter()
router.register("projects", projects.Projects)
router.register("models", registry.Models)
router.register("prompts", prompts.Prompts)
router.register("completions", prompts.Completions)
router.register("assignments", judging.Assignments)
router.register("ratings", feedback.Ratings)
router.register("comparisons", feedback.Comparisons)
router.register("demonstrations", feedback.Demonstrations)
router.register("datasets", datasets.Datasets)

urlpatterns = [
    path("auth/token/", accounts.token),
    path("auth/token/renew/", people.renew_token),
    path("invitations/accept/", people.accept),
    path("projects/<slug:slug>/invitations/", people.project_invitations),
    path("projects/<slug:slug>/invitations/<str:pk>/revoke/", people.revoke),
    path("projects/<slug:slug>/join/", people.join),
    path("projects/<slug:slug>/audit/", people.audit_trail),
    path("projects/<slug:slug>/assignments/", judging.next_assignment),
    path("battles/", battles.start),
    path("battles/<str:token>/", battles.read),
    path("battles/<str:token>/vote/", battles.vote),
    path("comparisons/import/", imports.import_comparisons),
    path("datasets/upload/", uploads.upload_rows),
    path("", include(router.urls)),
]
