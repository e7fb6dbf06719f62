"""The API of this app, mounted below /api/v1/: each subject's is in its `urls`."""

from annotate.arena import urls as arena
from annotate.data import urls as data
from annotate.labelling import urls as labelling
from annotate.language_models import urls as language_models
from annotate.projects import urls as projects
from annotate.red_team import urls as red_team

urlpatterns = [
    *labelling.api_urlpatterns,  # first: patterns are tried one after the other, and these are asked for most
    *arena.api_urlpatterns,
    *projects.api_urlpatterns,
    *data.api_urlpatterns,
    *red_team.api_urlpatterns,
    # Last: `comparisons/<pk>/` would take `comparisons/import/`.
    *projects.router.urls,
    *language_models.router.urls,
    *data.router.urls,
    *labelling.router.urls,
]
