"""Settings of Assay: one file, few of them, each from an environment variable with a default for one machine.

`config/setting_table.py` declares them, and docs/guides/settings.md has the table.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dj_database_url
from django.core.exceptions import ImproperlyConfigured

from annotate.core.network import outbound, proxies
from annotate.core.network.public_addresses import is_this_machine
from config import error_reports
from config.allauth_settings import *  # noqa: F403 # read by django-allauth, each by its name
from config.api_schema import SPECTACULAR_SETTINGS  # noqa: F401 # read by drf-spectacular
from config.local_secret import local_secret
from config.log_settings import logging_settings
from config.queue_settings import QUOTA_DISK_GB, QUOTA_GPU_HOURS, QUOTA_RUNS, RUN_AGEING_HOURS  # noqa: F401
from config.ray_settings import (  # noqa: F401 # read by the launcher
    RAY_ADDRESS,
    RAY_AUTH_TOKEN,
    RAY_CHECKOUT,
    RAY_CPUS_PER_PROCESS,
    RAY_DASHBOARD_URL,
    RAY_GPUS_PER_PROCESS,
    RAY_MEMORY_FACTOR,
    RAY_NODE_WAIT_SECONDS,
    RAY_PYTHON,
    RAY_RESOURCES,
    RAY_RUNTIME_ENV,
    RAY_WAITING_RUNS,
)
from training.runs.ordering import reward_functions

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = Path(os.environ.get("ASSAY_DATA") or BASE_DIR / "data").resolve()
DATA_DIR.mkdir(parents=True, exist_ok=True)


def _listed(variable: str) -> list[str]:
    """Return what stands between the commas of that variable."""
    return [part.strip() for part in os.environ.get(variable, "").split(",") if part.strip()]


HOST = os.environ.get("HOST", "")
_IS_FOR_THIS_MACHINE = not HOST or is_this_machine(HOST)
DEBUG = os.environ.get("DEBUG", "1" if _IS_FOR_THIS_MACHINE else "0") == "1"
if DEBUG and not _IS_FOR_THIS_MACHINE:
    raise ImproperlyConfigured(f"DEBUG=1 with HOST={HOST} shows the source to everybody: leave DEBUG out, or HOST.")


SECRET_KEY = os.environ.get("SECRET_KEY", "")
if not SECRET_KEY:
    if not DEBUG:
        raise ImproperlyConfigured("SECRET_KEY is not set: with DEBUG=0 or a HOST that lets others in, make one up.")
    SECRET_KEY = local_secret(DATA_DIR)

METRICS_TOKEN = os.environ.get("ASSAY_METRICS_TOKEN", "")
KEY_SECRETS = _listed("ASSAY_KEY_SECRETS")
ALLOWED_HOSTS = [h for h in os.environ.get("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1],testserver").split(",") if h]
TRUSTED_PROXIES = proxies.read_list(os.environ.get("TRUSTED_PROXIES", ""))
CSRF_TRUSTED_ORIGINS = [o for o in os.environ.get("CSRF_TRUSTED_ORIGINS", "").split(",") if o]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "channels",
    "django_htmx",
    "template_partials",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "annotate",
    "training",
    "evaluation",
]

MIDDLEWARE = [
    "annotate.core.middleware.name_writer",
    "django.middleware.security.SecurityMiddleware",
    "annotate.core.middleware.content_security_policy",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]

ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "evaluation.core.notices.count",
                "evaluation.sample.tours.context",
            ],
        },
    },
]


def postgres_options(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options for Postgres. A server that is cut off is given up well within the lease of a run
    (RUN_LEASE_SECONDS): else whoever holds it would wait for TCP, for hours, while somebody else begins the run
    anew."""
    return {
        "connect_timeout": 5,  # seconds, as all but the next
        "tcp_user_timeout": 8000,  # milliseconds
        "keepalives_idle": 3,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        **options,
        "prepare_threshold": None,  # psycopg keeps no plans: it would drop those of `postgres/one_trip`, too
        "pool": {"min_size": 1, "max_size": int(os.environ.get("DATABASE_CONNECTIONS", "8")), "timeout": 30},
    }


DATABASES = {"default": dj_database_url.config(default=f"sqlite:///{DATA_DIR / 'assay.sqlite3'}", conn_max_age=60)}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # Several processes write: take the write lock at BEGIN, wait for it in turn, and let readers go on meanwhile.
    DATABASES["default"] |= {"ENGINE": "annotate.core.db.sqlite", "CONN_MAX_AGE": 0}
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "slow_write_seconds": float(os.environ.get("ASSAY_SLOW_WRITE_MS", "100")) / 1000,
        # FULL: a vote that was acknowledged survives a power cut. NORMAL would lose the last ones.
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; "
        # A last resort: core/db/sqlite copies the log into the database more often, and while nobody waits for it.
        "PRAGMA wal_autocheckpoint=4000;",
    }
else:
    # Under ASGI each request has a thread of its own: connections are shared among them, and there are only so many.
    DATABASES["default"] |= {"ENGINE": "annotate.core.db.postgres", "CONN_MAX_AGE": 0}
    DATABASES["default"]["OPTIONS"] = postgres_options(DATABASES["default"].get("OPTIONS", {}))
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"


def redis_caches(url: str) -> dict[str, Any]:
    """Return the cache in Redis, which answers at once or is taken for gone."""
    seconds = {"socket_connect_timeout": 1, "socket_timeout": 1}
    return {"default": {"BACKEND": "annotate.core.redis.cache.Cache", "LOCATION": url, "OPTIONS": seconds}}


def redis_layers(url: str) -> dict[str, Any]:
    """Return the channel layer in Redis, which all web processes and workers reach.

    Without redis-py's own limit of 5 s: a socket waits 5 s for a message, which would be an error each time, and the
    limit is asyncio.wait_for's, which loses cancellations in Python 3.11: a page that was left would wait for ever.
    """
    host = {"address": url, "socket_timeout": None, "socket_connect_timeout": 2}
    return {"default": {"BACKEND": "annotate.core.redis.channel_layer.Layer", "CONFIG": {"hosts": [host]}}}


REDIS_URL = os.environ.get("REDIS_URL", "")
if REDIS_URL:
    CHANNEL_LAYERS = redis_layers(REDIS_URL)
    CACHES = redis_caches(REDIS_URL)
else:
    # No layer: an in-memory one would not reach the worker's process. Consumers read the database on a timer.
    CHANNEL_LAYERS = {}
    CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}

AUTH_USER_MODEL = "annotate.User"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
] + [{"NAME": "annotate.projects.accounts.adapter.EndsTheTokens"}]
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "home"
SIGN_UP_IS_OPEN = os.environ.get("ASSAY_SIGN_UP") == "1"
PROJECTS_PER_PERSON = int(os.environ.get("ASSAY_PROJECTS_PER_PERSON", "0"))
SESSION_COOKIE_AGE = int(os.environ.get("ASSAY_SESSION_DAYS", "14")) * 24 * 3600
VOTE_ADDRESS_DAYS = int(os.environ.get("ASSAY_ADDRESS_DAYS", "90"))

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = DATA_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}
DATA_UPLOAD_MAX_MEMORY_SIZE = 32 * 1024 * 1024

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "annotate.core.api.token_authentication.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_SCHEMA_CLASS": "annotate.core.api.auto_schema.OperationSchema",
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["annotate.core.api.json_parser.BoundedJSONParser"],
    "EXCEPTION_HANDLER": "annotate.core.api.exception_handler.exception_handler",
    "NUM_PROXIES": 0,  # throttles count by the connection: the X-Forwarded-For header is anybody's to invent
    "URL_FORMAT_OVERRIDE": None,  # ?format= names the format of an export
    "DEFAULT_PAGINATION_CLASS": "rest_framework.pagination.CursorPagination",
    "PAGE_SIZE": 100,
}

SECURE_CONTENT_TYPE_NOSNIFF = True
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
SITE_URL = os.environ.get("SITE_URL", f"http://127.0.0.1:{os.environ.get('PORT', '8000')}").rstrip("/")
if os.environ.get("HTTPS", "1" if SITE_URL.startswith("https://") else "0") == "1":
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = True
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_HSTS_SECONDS = 365 * 24 * 3600
    # What else stands below the same domain, and lists of browsers, are not for one site to decide.
    SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]

MODEL_SERVER_URL = os.environ.get("MODEL_SERVER_URL", "http://127.0.0.1:8001/v1")
MODEL_SERVER_TIMEOUT = float(os.environ.get("MODEL_SERVER_TIMEOUT", "120"))
MAX_COMPLETION_CHARACTERS = 100_000
MAX_PROMPT_CHARACTERS = 20_000

EMAIL_NOTICES_FROM = os.environ.get("EMAIL_NOTICES_FROM", "")
EMAIL_HOST = os.environ.get("EMAIL_HOST", "localhost")
EMAIL_PORT = int(os.environ.get("EMAIL_PORT", "25"))
EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = os.environ.get("EMAIL_HOST_USER", ""), os.environ.get("EMAIL_HOST_PASSWORD", "")
EMAIL_USE_TLS = os.environ.get("EMAIL_USE_TLS") == "1"
EMAIL_TIMEOUT = 10

PRIVATE_ENDPOINTS = outbound.read_list(os.environ.get(outbound.VARIABLE, ""))


def private_webhooks(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the inside hosts and networks that events may go to. WEBHOOK_ALLOW_PRIVATE is the older name, for all."""
    if environment.get("WEBHOOK_ALLOW_PRIVATE") == "1":
        return outbound.EVERYWHERE
    return outbound.read_list(environment.get("ASSAY_PRIVATE_WEBHOOKS", ""))


PRIVATE_WEBHOOKS = private_webhooks(os.environ)

RUNS_DIR = DATA_DIR / "runs"
MODELS_DIR = DATA_DIR / "models"
DATASETS_DIR = DATA_DIR / "datasets"
_storage = os.environ.get("ASSAY_STORAGE", "").rstrip("/")
STORAGE = _storage if "://" in _storage or not _storage else str(Path(_storage).resolve())
CORPUS_FOLDERS = [Path(part) for part in os.environ.get("ASSAY_CORPUS_FOLDERS", "").split(os.pathsep) if part]
RUN_LAUNCHER = os.environ.get("RUN_LAUNCHER") or f"training.runs.launchers.{'ray' if RAY_ADDRESS else 'local'}"
RUN_LEASE_SECONDS = float(os.environ.get("RUN_LEASE_SECONDS", "30"))
REWARD_FUNCTIONS = reward_functions.read_list(os.environ.get(reward_functions.VARIABLE, ""))
HUB_REPOSITORIES = _listed("ASSAY_HUB_REPOSITORIES")
HUB_SOURCES = _listed("ASSAY_HUB_SOURCES")
IMPORT_GB = float(os.environ.get("ASSAY_IMPORT_GB", "100"))
RECIPE_USER = os.environ.get("ASSAY_RECIPE_USER", "")
FORK_SERVER = os.environ.get("ASSAY_FORK_SERVER", "1")
RECIPE_NICE = int(os.environ.get("ASSAY_RECIPE_NICE", "10"))
RECIPE_ENVIRONMENT = _listed("ASSAY_RECIPE_ENVIRONMENT")
RECIPE_MEMORY_GB = float(os.environ.get("ASSAY_RECIPE_MEMORY_GB", "0"))
RECIPE_FILE_GB = float(os.environ.get("ASSAY_RECIPE_FILE_GB", "100"))
RECIPE_PROCESSES = int(os.environ.get("ASSAY_RECIPE_PROCESSES", "4096"))
RUN_MAX_ATTEMPTS = int(os.environ.get("RUN_MAX_ATTEMPTS", "3"))

LOGGING = logging_settings(os.environ.get("LOG_FORMAT", "plain"), os.environ.get("LOG_LEVEL", "INFO"))
error_reports.start(os.environ.get("SENTRY_DSN", ""))
