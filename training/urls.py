"""Pages of this app: each subject's are in its `urls`."""

from training.corpora import urls as corpora
from training.instructions import urls as instructions
from training.runs import urls as runs
from training.serving import urls as serving
from training.storage import urls as storage

urlpatterns = [
    *runs.urlpatterns,
    *storage.urlpatterns,
    *corpora.urlpatterns,
    *instructions.urlpatterns,
    *serving.urlpatterns,
]
