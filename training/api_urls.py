"""The API of this app, mounted below /api/v1/: each subject's is in its `urls`."""

from training.corpora import urls as corpora
from training.instructions import urls as instructions
from training.runs import urls as runs
from training.serving import urls as serving
from training.storage import urls as storage

urlpatterns = [
    *corpora.api_urlpatterns,
    *storage.api_urlpatterns,
    *instructions.api_urlpatterns,
    *serving.api_urlpatterns,
    *runs.router.urls,
]
