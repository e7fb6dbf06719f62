"""The API of this app, mounted below /api/v1/."""

urlpatterns: list = []
