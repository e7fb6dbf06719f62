"""The API of this app, mounted below /api/v1/."""

from rest_framework.routers import SimpleRouter

from training.api import Runs

router = SimpleRouter()
router.register("runs", Runs)

urlpatterns = router.urls
