"""The whole site: each app brings its pages and its part of the API."""

from allauth.account.views import login
from django.contrib import admin
from django.contrib.auth import views as auth_views
from django.urls import include, path, re_path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from annotate.core.api.exception_handler import KeptSchema, no_such_address

handler500 = "annotate.core.server_error.server_error"
urlpatterns = [
    # First: patterns are tried one after the other, and programs ask far more often than people.
    path("api/v1/", include("annotate.api_urls")),
    path("api/v1/", include("training.api_urls")),
    path("api/v1/", include("evaluation.api_urls")),
    path("", include("annotate.urls")),
    path("", include("training.urls")),
    path("", include("evaluation.urls")),
    path("sign-in/", login, name="login"),
    path("account/", include("allauth.urls")),
    path("sign-out/", auth_views.LogoutView.as_view(), name="logout"),
    path("api/schema/", SpectacularAPIView.as_view(generator_class=KeptSchema), name="schema"),
    path("api/docs/", SpectacularSwaggerSplitView.as_view(url_name="schema"), name="api-docs"),
    re_path(r"^api/", no_such_address),
    path("admin/", admin.site.urls),
]
