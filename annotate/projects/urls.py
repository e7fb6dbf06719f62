"""Addresses of projects, their people, accounts and webhooks: pages, and below /api/v1/ their twins for programs."""

from django.urls import path
from rest_framework.routers import SimpleRouter

from annotate.projects import api, pages
from annotate.projects.accounts import api as accounts_api
from annotate.projects.accounts import notice_mail_api, tokens_api
from annotate.projects.accounts import pages as accounts_pages
from annotate.projects.bulk_invitations import api as bulk_invitations_api
from annotate.projects.bulk_invitations import pages as bulk_invitations_pages
from annotate.projects.people import api as people_api
from annotate.projects.people import pages as people_pages
from annotate.projects.webhooks import api as webhooks_api
from annotate.projects.webhooks import pages as webhooks_pages

router = SimpleRouter()
router.register("projects", api.Projects)
router.register("webhooks", webhooks_api.Webhooks)

urlpatterns = [
    path("", pages.home, name="home"),
    path("projects/new/", pages.new, name="new-project"),
    path("p/<slug:slug>/", pages.project, name="project"),
    path("p/<slug:slug>/settings/", pages.settings, name="project-settings"),
    path("p/<slug:slug>/guidelines/", pages.guidelines, name="guidelines"),
    path("p/<slug:slug>/people/", people_pages.people, name="people"),
    path("p/<slug:slug>/members/", people_pages.members, name="members"),
    path("p/<slug:slug>/invite/", people_pages.invite, name="invite"),
    path("p/<slug:slug>/invitations/<int:pk>/revoke/", people_pages.revoke, name="revoke-invitation"),
    path("p/<slug:slug>/invitations/", bulk_invitations_pages.invitations, name="invitations"),
    path("p/<slug:slug>/invitations/batch/", bulk_invitations_pages.batch, name="invitation-batch"),
    path("p/<slug:slug>/invitations/again/", bulk_invitations_pages.send_again, name="invitations-again"),
    path("p/<slug:slug>/invitations/withdraw/", bulk_invitations_pages.withdraw, name="invitations-withdraw"),
    path("p/<slug:slug>/invitations/links/", bulk_invitations_pages.links, name="invitation-links"),
    path("p/<slug:slug>/join/", people_pages.join, name="join"),
    path("invitations/<str:token>/", people_pages.invitation, name="invitation"),
    path("account/", people_pages.account, name="account"),
    path("account/notice-mail/", accounts_pages.choose_notice_mail, name="notice-mail"),
    path("account/tokens/", accounts_pages.tokens_page, name="tokens"),
    path("account/tokens/<int:pk>/revoke/", accounts_pages.revoke, name="revoke-token"),
    path("p/<slug:slug>/webhooks/", webhooks_pages.webhooks_page, name="webhooks"),
    path("p/<slug:slug>/webhooks/<int:pk>/", webhooks_pages.webhook, name="webhook"),
    path("p/<slug:slug>/webhooks/<int:pk>/again/<int:delivery>/", webhooks_pages.again, name="webhook-again"),
]

api_urlpatterns = [
    path("auth/token/", accounts_api.token),
    path("auth/token/renew/", tokens_api.renew_token),
    path("auth/tokens/", tokens_api.my_tokens),
    path("auth/tokens/<str:pk>/", tokens_api.my_token),
    path("invitations/accept/", people_api.accept),
    path("projects/<slug:slug>/invitations/", people_api.project_invitations),
    path("projects/<slug:slug>/invitations/bulk/", bulk_invitations_api.invite_many),
    path("projects/<slug:slug>/invitations/batches/", bulk_invitations_api.batches),
    path("projects/<slug:slug>/invitations/links/", bulk_invitations_api.links),
    path("projects/<slug:slug>/invitations/<str:pk>/revoke/", people_api.revoke),
    path("projects/<slug:slug>/join/", people_api.join),
    path("projects/<slug:slug>/audit/", people_api.audit_trail),
    path("projects/<slug:slug>/notice-mail/", notice_mail_api.my_notice_mail),
]
