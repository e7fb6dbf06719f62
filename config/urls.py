"""Collect the addresses of the whole site: each app brings its pages and its part of the API."""

from allauth.account.views import login
from django.contrib import admin
from django.contrib.auth import views as auth_views
from django.urls import include, path, re_path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from annotate.core.api.exception_handler import KeptSchema, no_such_address
from annotate.core.rights import Rights
from config.addresses import require_all

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

# Who may use the views that are not ours, by the name of the page. Ours declare it themselves.
_OPEN, _ACCOUNT = {"get": "anybody", "post": "anybody"}, {"get": "account", "post": "account"}
_SEEN, _SEEN_BY_ACCOUNTS = {"get": "anybody"}, {"get": "account"}
_OFF = {"get": "nobody", "post": "nobody"}
OTHERS: dict[str, Rights] = {
    **dict.fromkeys(("login", "logout", "account_login", "account_logout", "account_signup"), _OPEN),
    **dict.fromkeys(("account_reset_password", "account_confirm_login_code", "account_confirm_email"), _OPEN),
    **dict.fromkeys(("account_reset_password_from_key", "mfa_authenticate"), _OPEN),
    # They send everybody who is not ready for them elsewhere, and need more than an account: a fresh sign-in.
    **dict.fromkeys(("mfa_activate_totp", "mfa_generate_recovery_codes"), _OPEN),
    **dict.fromkeys(("account_inactive", "account_email_verification_sent", "schema", "api-docs"), _SEEN),
    **dict.fromkeys(("account_reset_password_done", "account_reset_password_from_key_done"), _SEEN),
    **dict.fromkeys(("account_reauthenticate", "account_email", "account_change_password"), _ACCOUNT),
    **dict.fromkeys(("account_set_password", "mfa_reauthenticate", "mfa_deactivate_totp"), _ACCOUNT),
    **dict.fromkeys(("mfa_index", "mfa_view_recovery_codes", "mfa_download_recovery_codes"), _SEEN_BY_ACCOUNTS),
    # The provider's answer comes by GET; whom nobody knows is led on from there.
    **dict.fromkeys(("openid_connect_login", "openid_connect_callback", "socialaccount_signup"), _OPEN),
    **dict.fromkeys(("socialaccount_login_cancelled", "socialaccount_login_error"), _SEEN),
    "socialaccount_connections": _ACCOUNT,
    # They lead to the four before.
    **{f"account/social/{name}/": _OPEN for name in ("login/cancelled", "login/error", "signup", "connections")},
    **dict.fromkeys(("account_request_reauthentication_code", "account_confirm_reauthentication_code"), _OFF),
}
ADMIN_OTHERS = {
    "GroupAdmin",
    "EmailAddressAdmin",
    "AuthenticatorAdmin",
    "SocialAccountAdmin",
}  # all: view, add, change, delete
require_all(urlpatterns, OTHERS, ADMIN_OTHERS)
