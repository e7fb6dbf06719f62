"""Pages of this app: each subject's are in its `urls`."""

from annotate.arena import urls as arena
from annotate.data import urls as data
from annotate.guides import urls as guides
from annotate.labelling import urls as labelling
from annotate.language_models import urls as language_models
from annotate.playground import urls as playground
from annotate.projects import urls as projects
from annotate.red_team import urls as red_team

urlpatterns = [
    *projects.urlpatterns,
    *labelling.urlpatterns,
    *arena.urlpatterns,
    *data.urlpatterns,
    *language_models.urlpatterns,
    *playground.urlpatterns,
    *red_team.urlpatterns,
    *guides.urlpatterns,
]
