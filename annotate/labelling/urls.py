"""Addresses of labelling, from tasks to what comes of them: pages, and below /api/v1/ their twins for programs."""

import re

from django.urls import path
from rest_framework.routers import SimpleRouter

from annotate.labelling import api
from annotate.labelling.adjudication import api as adjudication_api
from annotate.labelling.adjudication import pages as adjudication_pages
from annotate.labelling.gold import api as gold_api
from annotate.labelling.gold import pages as gold_pages
from annotate.labelling.history import api as history_api
from annotate.labelling.history import audit_pages
from annotate.labelling.history import pages as history_pages
from annotate.labelling.pages import annotating, items_ahead
from annotate.labelling.prerequisites import pages as prerequisites_pages
from annotate.labelling.records import api as records_api
from annotate.labelling.records import pages as records_pages
from annotate.labelling.reviews import api as reviews_api
from annotate.labelling.reviews import pages as reviews_pages
from annotate.labelling.scales import api as scales_api
from annotate.labelling.scales import pages as scales_pages
from annotate.labelling.shortcuts import api as shortcuts_api
from annotate.labelling.shortcuts import pages as shortcuts_pages
from annotate.labelling.tutorial import api as tutorial_api
from annotate.labelling.tutorial import pages as tutorial_pages
from annotate.labelling.work_packages import api as work_packages_api
from annotate.labelling.work_packages import pages as work_packages_pages

# Where programs send annotations and ask for items, one after the other without a pause.
WHERE_ANNOTATIONS_ARE_SENT = re.compile(r"/api/v1/(assignments/[^/]+/submit|projects/[^/]+/assignments)/$")

assignments = SimpleRouter()
assignments.register("assignments", api.Assignments)
router = SimpleRouter()
router.register("ratings", records_api.Ratings)
router.register("comparisons", records_api.Comparisons)
router.register("demonstrations", records_api.Demonstrations)
router.register("rankings", records_api.Rankings)
router.register("spans", records_api.Spans)
router.register("flags", records_api.Flags)

urlpatterns = [
    path("p/<slug:slug>/audit/", audit_pages.audit_trail, name="audit"),
    path("p/<slug:slug>/judge/", annotating.annotate, name="annotate"),
    path("p/<slug:slug>/judge/skip/", annotating.skip, name="annotate-skip"),
    path("p/<slug:slug>/judge/undo/", annotating.undo, name="annotate-undo"),
    path("p/<slug:slug>/judge/keep/", annotating.keep, name="annotate-keep"),
    path("p/<slug:slug>/judge/ahead/", items_ahead.items_ahead, name="annotate-ahead"),
    path("p/<slug:slug>/judge/give-back/", items_ahead.give_back, name="annotate-give-back"),
    path("p/<slug:slug>/judge/flag/", annotating.flag, name="annotate-flag"),
    path("p/<slug:slug>/judge/unflag/", annotating.unflag, name="annotate-unflag"),
    path("p/<slug:slug>/judge/history/", history_pages.history, name="annotate-history"),
    path("p/<slug:slug>/judge/<int:pk>/", annotating.edit, name="annotate-edit"),
    path("p/<slug:slug>/reading/", prerequisites_pages.reading, name="reading"),
    path("p/<slug:slug>/tutorial/", tutorial_pages.tutorial, name="tutorial"),
    path("p/<slug:slug>/tutorial/<int:pk>/", tutorial_pages.lesson, name="tutorial-lesson"),
    path("p/<slug:slug>/adjudicate/", adjudication_pages.adjudicate, name="adjudicate"),
    path("p/<slug:slug>/adjudicate/<str:key>/", adjudication_pages.item, name="adjudicate-item"),
    path("p/<slug:slug>/send-back/<int:pk>/", adjudication_pages.send_back, name="send-back"),
    path("p/<slug:slug>/prompts/<int:pk>/decide/", adjudication_pages.decide_prompt, name="decide-prompt"),
    path("p/<slug:slug>/reviews/", reviews_pages.reviews, name="reviews"),
    path("p/<slug:slug>/reviews/<int:pk>/", reviews_pages.review, name="review"),
    path("p/<slug:slug>/packages/", work_packages_pages.packages, name="packages"),
    path("p/<slug:slug>/packages/<int:pk>/", work_packages_pages.package, name="package"),
    path("p/<slug:slug>/gold/", gold_pages.gold_page, name="gold"),
    path("p/<slug:slug>/gold/lift/", gold_pages.lift, name="gold-lift"),
    path("p/<slug:slug>/gold/from/<str:kind>/<int:pk>/", gold_pages.from_annotation, name="gold-from"),
    path("p/<slug:slug>/gold/<int:pk>/", gold_pages.change, name="gold-change"),
    path("p/<slug:slug>/scales/", scales_pages.scales, name="scales"),
    path("shortcuts/", shortcuts_pages.shortcuts, name="shortcuts"),
    path("p/<slug:slug>/votes/", records_pages.votes_page, name="votes"),
    path("p/<slug:slug>/votes/<str:kind>/<int:pk>/status/", records_pages.vote_status, name="vote-status"),
]

api_urlpatterns = [
    path("projects/<slug:slug>/assignments/", api.next_assignment),
    *assignments.urls,
    path("projects/<slug:slug>/guidelines/read/", tutorial_api.guidelines_read),
    path("projects/<slug:slug>/message/", tutorial_api.message),
    path("projects/<slug:slug>/tutorial/", tutorial_api.next_lesson),
    path("assignments/<str:pk>/lesson/", tutorial_api.lesson),
    path("projects/<slug:slug>/gold/", gold_api.project_gold),
    path("projects/<slug:slug>/gold/<str:pk>/", gold_api.gold_item),
    path("projects/<slug:slug>/pauses/", gold_api.pauses),
    path("projects/<slug:slug>/disagreements/", adjudication_api.project_disagreements),
    path("projects/<slug:slug>/disagreements/<str:item>/", adjudication_api.judged_item),
    path("projects/<slug:slug>/adjudications/", adjudication_api.take),
    path("assignments/<str:pk>/send-back/", adjudication_api.send_back),
    path("projects/<slug:slug>/complaints/", adjudication_api.complaints),
    path("projects/<slug:slug>/complaints/<str:pk>/", adjudication_api.decide_prompt),
    path("projects/<slug:slug>/reviews/", reviews_api.reviews),
    path("projects/<slug:slug>/packages/", work_packages_api.packages),
    path("projects/<slug:slug>/packages/<str:pk>/", work_packages_api.package),
    path("projects/<slug:slug>/packages/<str:pk>/take-back/", work_packages_api.take_back),
    path("projects/<slug:slug>/queue/", adjudication_api.coming_next),
    path("projects/<slug:slug>/judgements/mine/", history_api.my_annotations),
    path("projects/<slug:slug>/scales/", scales_api.scales),
    path("projects/<slug:slug>/scales/propose/", scales_api.propose),
    path("projects/<slug:slug>/scales/<str:pk>/", scales_api.scale),
    path("shortcuts/", shortcuts_api.shortcuts),
]
