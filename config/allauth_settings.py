"""Settings of django-allauth: signing in and up, second factors, single sign-on."""

from config.oidc_settings import SINGLE_SIGN_ON

ACCOUNT_ADAPTER = "annotate.projects.accounts.adapter.AccountAdapter"
ACCOUNT_FORMS = {
    "login": "annotate.projects.accounts.sign_in.SignInForm",
    "signup": "annotate.projects.accounts.sign_in.SignUpForm",
    "reset_password": "annotate.projects.accounts.sign_in.ForgottenForm",
}
ACCOUNT_LOGIN_METHODS = {"username"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "email", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "none"  # an address is optional here: no mail server is needed to judge
ACCOUNT_RATE_LIMITS = {"login": None, "login_failed": None}  # `accounts.require_patience` counts, for all processes
ACCOUNT_SESSION_REMEMBER = True
# Else whoever goes on guessing could have them wait again before they are in.
ACCOUNT_LOGIN_ON_PASSWORD_RESET = SINGLE_SIGN_ON is None or SINGLE_SIGN_ON.has_passwords
# No code by mail: an address is optional and never confirmed. Whoever has neither is sent to the provider again.
ACCOUNT_REAUTHENTICATION_METHODS = {"password", "mfa"} if ACCOUNT_LOGIN_ON_PASSWORD_RESET else {"mfa"}
ACCOUNT_USER_MODEL_EMAIL_FIELD = "email"
MFA_FORMS = {"authenticate": "annotate.projects.accounts.sign_in.CodeForm"}
MFA_ADAPTER = "annotate.projects.accounts.adapter.SecondFactorAdapter"
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes"]
MFA_TOTP_ISSUER = "Assay"
MFA_TOTP_TOLERANCE = 1  # steps of 30 s: a code typed as it changes, or by a phone whose clock is off (RFC 6238, 5.2)

SOCIALACCOUNT_ADAPTER = "annotate.projects.accounts.single_sign_on.SingleSignOnAdapter"
SOCIALACCOUNT_PROVIDERS = SINGLE_SIGN_ON.providers() if SINGLE_SIGN_ON else {}
SOCIALACCOUNT_FORMS = {"disconnect": "annotate.projects.accounts.single_sign_on.ConnectionsForm"}
SOCIALACCOUNT_LOGIN_ON_GET = True  # a form's redirect to the provider is what `form-action` of our policy forbids
SOCIALACCOUNT_REAUTHENTICATION_REQUIRED = True  # to connect: a link that somebody was sent connects nothing
