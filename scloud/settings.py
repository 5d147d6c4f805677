"""Settings. Every deployment-specific value comes from the environment (see docs/operations.md)."""

import sys
from pathlib import Path

import django_stubs_ext
import environ
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured

from scloud.lib import postgres

# Lets classes such as ModelAdmin be written with their type argument at run time too.
django_stubs_ext.monkeypatch()

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()
TESTING = "pytest" in sys.modules

DEBUG = env.bool("SCLOUD_DEBUG", default=False)
SCLOUD_DEMO = env.bool("SCLOUD_DEMO", default=False)
# A payment provider that takes no money: what is "paid" there is in the account all the same.
SCLOUD_PAYMENT_SANDBOX = env.bool("SCLOUD_PAYMENT_SANDBOX", default=False)
SCLOUD_STATE_DIR = Path(env.str("SCLOUD_STATE_DIR", default=str(BASE_DIR / ".scloud")))


def _secret_key() -> str:
    """Return the site's key: from the environment, else one made once in the state directory."""
    given: str = env.str("SCLOUD_SECRET_KEY", default="")
    if given:
        return given
    import os
    import secrets

    path = SCLOUD_STATE_DIR / "secret_key"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        # O_EXCL: several processes start at once, and all must end with the same key.
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_urlsafe(48))
        _new_rings()
    except FileExistsError:
        pass
    return path.read_text().strip()


def _new_rings() -> None:
    """Give a new installation a key for each purpose; older ones get theirs by rotate_keys."""
    import secrets

    folder = SCLOUD_STATE_DIR / "keys"
    folder.mkdir(mode=0o700, exist_ok=True)
    for purpose in ("sealing", "quotes", "digests"):
        with (folder / purpose).open("x") as file:
            (folder / purpose).chmod(0o600)
            file.write(secrets.token_urlsafe(48) + "\n")


SECRET_KEY = _secret_key()
SECRET_KEY_FALLBACKS = env.list("SCLOUD_OLD_SECRET_KEYS", default=[])
# The key of each purpose, and behind it the old ones that are still accepted (see lib/keys.py).
SCLOUD_KEYS = {
    "sealing": env.list("SCLOUD_SEALING_KEYS", default=[]),
    "quotes": env.list("SCLOUD_QUOTE_KEYS", default=[]),
    "digests": env.list("SCLOUD_DIGEST_KEYS", default=[]),
}

ALLOWED_HOSTS = env.list("SCLOUD_ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("SCLOUD_TRUSTED_ORIGINS", default=[])
SCLOUD_HTTPS = env.bool("SCLOUD_HTTPS", default=False)

INSTALLED_APPS = [
    # Before Django's, whose command "changepassword" it replaces.
    "scloud.accounts",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django.contrib.postgres",
    "channels",
    "rest_framework",
    "drf_spectacular",
    "django_q",
    "csp",
    "scloud.tenancy",
    "scloud.audit",
    "scloud.recovery",
    "scloud.jobs",
    "scloud.resources",
    "scloud.web",
    "scloud.rest",
    "billing",
    "network",
    "compute",
    "alarms",
    "scloud.adminsite.apps.ScloudAdminConfig",
]

MIDDLEWARE = [
    "scloud.web.probes.ProbeMiddleware",
    "scloud.web.middleware.TraceMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "scloud.web.middleware.CompressingMiddleware",
    "csp.middleware.CSPMiddleware",
    "scloud.web.middleware.ProxyMiddleware",
    "scloud.web.middleware.BodyMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "scloud.tenancy.middleware.TenancyMiddleware",
    "scloud.web.middleware.SecondFactorMiddleware",
    "scloud.web.middleware.ActingMiddleware",
    "scloud.web.middleware.ConsoleMiddleware",
    "scloud.web.asking.AskMiddleware",
]

ROOT_URLCONF = "scloud.urls"
ASGI_APPLICATION = "scloud.asgi.application"
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
                "scloud.web.context.console",
            ],
        },
    }
]

DATABASES = {
    "default": env.db_url("DATABASE_URL", default="postgres://scloud@127.0.0.1:55432/scloud")
}
DATABASES["default"].update(
    {
        "CONN_MAX_AGE": 60,
        # A restarted database server must not break the first request after it.
        "CONN_HEALTH_CHECKS": True,
        # A server that is gone, or slow, is not waited for longer than the process can afford.
        "OPTIONS": {
            **DATABASES["default"].get("OPTIONS", {}),
            **postgres.options(postgres.present_process()),
        },
        "TEST": {"NAME": env.str("SCLOUD_TEST_DB", default="test_scloud")},
    }
)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_USER_MODEL = "tenancy.User"
AUTHENTICATION_BACKENDS = ["scloud.tenancy.backends.EmailBackend"]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.ScryptPasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 10},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "scloud.accounts.breached.BreachedPasswordValidator"},
]
# Seconds for which codes in mails are valid: of forgotten passwords and new addresses.
PASSWORD_RESET_TIMEOUT = 1800
_BREACHED = env.str("SCLOUD_BREACHED_PASSWORDS", default="")
SCLOUD_BREACHED_PASSWORDS = Path(_BREACHED) if _BREACHED else None
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "login"

SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_NAME = "scloud_session"
CSRF_COOKIE_NAME = "scloud_csrf"
CSRF_COOKIE_SAMESITE = "Lax"
CSRF_FAILURE_VIEW = "scloud.web.errors.csrf_failure"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
if SCLOUD_HTTPS:
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True
    SECURE_SSL_REDIRECT = True
    SECURE_HSTS_SECONDS = 31_536_000
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

# Where browsers find the VNC proxy (a process of its own, see docs/architecture.md).
SCLOUD_VNC_PUBLIC_URL = env.str("SCLOUD_VNC_PUBLIC_URL", default="ws://localhost:8001")
SCLOUD_VNC_GATEWAY_ADDRESS = env.str("SCLOUD_VNC_GATEWAY_ADDRESS", default="127.0.0.1")
SCLOUD_VNC_GATEWAY_PORTS = env.str("SCLOUD_VNC_GATEWAY_PORTS", default="15900-16899")

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:", "blob:"],
        "font-src": [SELF],
        # 'self' covers the page's own websocket; the VNC proxy listens on a port of its own.
        "connect-src": [SELF, SCLOUD_VNC_PUBLIC_URL],
        "object-src": [NONE],
        "base-uri": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    }
}
LANGUAGE_CODE = "en"
# One is offered when it has a catalogue.
LANGUAGES = [("en", "English")]
LOCALE_PATHS = [BASE_DIR / "locale"]
USE_I18N = True
USE_TZ = True
TIME_ZONE = "UTC"

STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG or TESTING
        else "scloud.web.static_assets.HashedStaticStorage"
    },
}
# Bodies of requests; scloud/lib/bodies.py says which views take more.
DATA_UPLOAD_MAX_MEMORY_SIZE = 2_621_440
MEDIA_ROOT = SCLOUD_STATE_DIR / "uploads"

# Tests and development have no collected files; whitenoise then looks where they come from.
WHITENOISE_AUTOREFRESH = DEBUG or TESTING

CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}

# django-q2 only carries the id of a job to a worker; scloud.jobs.models.Job is authoritative.
Q_CLUSTER = {
    "name": env.str("SCLOUD_QUEUE", default="scloud"),
    "orm": "default",
    "workers": env.int("SCLOUD_WORKERS", default=10),
    "queue_limit": 1,
    "bulk": 1,
    "poll": 0.05,
    # A job's end is its lease and its deadline; the library needs figures that are never reached.
    "timeout": 30 * 86_400,
    "retry": 60 * 86_400,
    "max_attempts": 1,
    "ack_failures": True,
    "recycle": 1_000_000,
    "save_limit": -1,
    "catch_up": False,
    "label": "Wake-ups",
    "log_level": "WARNING",
}

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "scloud.rest.authentication.ApiKeyAuthentication",
        "scloud.rest.authentication.ConsoleSessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["scloud.rest.permissions.HasActor"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["scloud.rest.parsers.JSONParser"],
    "DEFAULT_PAGINATION_CLASS": "scloud.rest.pagination.PageNumberPagination",
    "DEFAULT_SCHEMA_CLASS": "scloud.rest.openapi.ApiSchema",
    "DEFAULT_THROTTLE_CLASSES": ["scloud.rest.throttling.ActorThrottle"],
    "EXCEPTION_HANDLER": "scloud.rest.errors.exception_handler",
    "PAGE_SIZE": 20,
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "SCloud API",
    "DESCRIPTION": (
        "The same verbs, rules and error codes as the console. Authenticate with "
        "`Authorization: Bearer <API key>`. Send `Idempotency-Key` with every POST that you may "
        "have to repeat. Texts have no NUL character; spaces around a text are removed, so that a "
        "text of nothing but spaces is empty."
    ),
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "COMPONENT_SPLIT_REQUEST": True,
    # Names stay when another field gets the name of theirs.
    "ENUM_NAME_OVERRIDES": {
        "OrderKindEnum": "billing.models.OrderKind",
        "TransactionKindEnum": "billing.models.TransactionKind",
        "MetricUnitEnum": "alarms.api.metrics.UNITS",
        "StateEnum": "scloud.rest.jobs.STEP_STATES",
    },
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "scloud.rest.openapi.add_refusals",
    ],
    "TAGS": [
        {"name": "VMs", "description": "Virtual machines and their verbs."},
        {"name": "Disks", "description": "System and data disks, and their snapshot schedules."},
        {"name": "Snapshots", "description": "The content of a disk at one moment."},
        {"name": "Images", "description": "Base images and images of your own."},
        {"name": "SSH keys", "description": "Public keys to choose for new and reinstalled VMs."},
        {"name": "Placement groups", "description": "VMs on different hosts, or on the same."},
        {"name": "VPCs", "description": "Private networks."},
        {"name": "Subnets", "description": "Subnets of VPCs."},
        {"name": "Security groups", "description": "Stateful filters of NICs, and their rules."},
        {"name": "External IPs", "description": "Addresses outside, and the segments they are of."},
        {"name": "ENIs", "description": "Network interfaces that VMs get and give back."},
        {"name": "Monitoring", "description": "What is measured of VMs and external IPs."},
        {"name": "Alarms", "description": "Alarm templates, their rules, and what they opened."},
        {
            "name": "Notifications",
            "description": "Who is notified of alarms, by what, when not, and what was sent.",
        },
        {"name": "Catalogue", "description": "What can be bought: regions, models, disk types."},
        {"name": "Billing", "description": "Account, prices, orders, transactions, renewals."},
        {"name": "Quotas", "description": "Limits, and requests for higher ones."},
        {"name": "Jobs", "description": "What is being done in the background."},
        {"name": "API keys", "description": "The keys of the caller."},
    ],
}

# --- the product's own settings -------------------------------------------------------------
SCLOUD_CURRENCY = env.str("SCLOUD_CURRENCY", default="CNY")
SCLOUD_CURRENCY_DECIMALS = env.int("SCLOUD_CURRENCY_DECIMALS", default=2)
SCLOUD_BILLING_TIME_ZONE = env.str("SCLOUD_BILLING_TIME_ZONE", default="Asia/Shanghai")
SCLOUD_API_REQUESTS_PER_MINUTE = env.int("SCLOUD_API_REQUESTS_PER_MINUTE", default=600)
# So long after signing in, or entering the password again, nobody is asked for it.
SCLOUD_CONFIRM_MINUTES = env.int("SCLOUD_CONFIRM_MINUTES", default=15)
# Identity providers on this machine itself, by http: for development only.
SCLOUD_IDENTITY_LOOPBACK = DEBUG or TESTING
SCLOUD_LOGIN_ATTEMPTS_PER_MINUTE = env.int("SCLOUD_LOGIN_ATTEMPTS_PER_MINUTE", default=20)
# A proxy in front of the console may say where a request came from; nobody else may. Without a
# word about proxies a request that went through one is refused: all would count as one caller.
SCLOUD_TRUSTED_PROXIES = env.list("SCLOUD_TRUSTED_PROXIES", default=[])
SCLOUD_PROXY = env.str("SCLOUD_PROXY", default="trusted" if SCLOUD_TRUSTED_PROXIES else "none")
SCLOUD_PROXY_SAID = "SCLOUD_PROXY" in env.ENVIRON or bool(SCLOUD_TRUSTED_PROXIES)
SCLOUD_JOB_LEASE_S = env.float("SCLOUD_JOB_LEASE_S", default=15.0)
# Of a machine's slots (SCLOUD_WORKERS): how many may copy data, and how many one tenant may have.
SCLOUD_LONG_SLOTS = env.int("SCLOUD_LONG_SLOTS", default=max(1, Q_CLUSTER["workers"] * 4 // 10))
SCLOUD_TENANT_SLOTS = env.int("SCLOUD_TENANT_SLOTS", default=max(1, Q_CLUSTER["workers"] // 2))
SCLOUD_SWEEP_INTERVAL_S = env.float("SCLOUD_SWEEP_INTERVAL_S", default=1.0)
# Where measurements are kept: in the database, or in the VictoriaMetrics of a URL.
SCLOUD_METRICS_STORE = env.str("SCLOUD_METRICS_STORE", default="postgres")
SCLOUD_COLLECT_EVERY_S = env.float("SCLOUD_COLLECT_EVERY_S", default=30.0)
# Who may read /metrics: callers of these networks, and whoever has the token.
SCLOUD_METRICS_NETWORKS = env.list("SCLOUD_METRICS_NETWORKS", default=["127.0.0.0/8", "::1/128"])
SCLOUD_METRICS_TOKEN = env.str("SCLOUD_METRICS_TOKEN", default="")
# What operators are told of: thresholds that differ (alarms/rules/operators.py), certificates, and
# other dates that somebody has to know of, such as the end of a licence ({"name": "2027-01-31"}).
SCLOUD_OPERATOR_ALARMS = env.json("SCLOUD_OPERATOR_ALARMS", default={})
SCLOUD_CERTIFICATES = env.list("SCLOUD_CERTIFICATES", default=[])
# The certificates between control plane and hosts: where `manage.py pki` keeps its authorities, and
# where this machine's own files are, of its workers and of its VNC processes.
SCLOUD_PKI_DIR = Path(env.str("SCLOUD_PKI_DIR", default=str(SCLOUD_STATE_DIR / "pki")))
SCLOUD_WORKER_CERTIFICATES = Path(
    env.str("SCLOUD_WORKER_CERTIFICATES", default=str(SCLOUD_PKI_DIR / "workers" / "worker"))
)
SCLOUD_GATEWAY_CERTIFICATES = Path(
    env.str("SCLOUD_GATEWAY_CERTIFICATES", default=str(SCLOUD_PKI_DIR / "gateways" / "gateway"))
)
# Screens: "preferred" encrypts where the host offers it, "required" opens no other.
SCLOUD_VNC_TLS = env.str("SCLOUD_VNC_TLS", default="preferred")
if SCLOUD_VNC_TLS not in ("preferred", "required"):
    raise ImproperlyConfigured("SCLOUD_VNC_TLS must be preferred or required.")
SCLOUD_DATES = env.json("SCLOUD_DATES", default={})
# The mail server of notifications, such as smtp+tls://user:password@mail.example.org:587; without
# one no e-mail is sent. The address is where messages come from, the URL begins their links.
_EMAIL = env.str("SCLOUD_EMAIL_URL", default="")
SCLOUD_EMAIL_READY = bool(_EMAIL)
if _EMAIL:
    vars().update(env.email_url("SCLOUD_EMAIL_URL"))
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = env.str("SCLOUD_EMAIL_FROM", default="SCloud <scloud@localhost>")
SCLOUD_CONSOLE_URL = env.str("SCLOUD_CONSOLE_URL", default="http://localhost:8000").rstrip("/")
# Images that tenants bring: how large the file and the disk in it may be, and which private
# networks (such as 10.1.2.0/24) they may be downloaded from besides public addresses.
SCLOUD_IMAGE_MAX_FILE_GIB = env.int("SCLOUD_IMAGE_MAX_FILE_GIB", default=100)
SCLOUD_IMAGE_MAX_VIRTUAL_GIB = env.int("SCLOUD_IMAGE_MAX_VIRTUAL_GIB", default=500)
# A download that brings less over a minute has stalled.
SCLOUD_IMPORT_MIN_KIB_PER_S = env.int("SCLOUD_IMPORT_MIN_KIB_PER_S", default=16)
SCLOUD_IMPORT_ALLOWED_NETWORKS = env.list("SCLOUD_IMPORT_ALLOWED_NETWORKS", default=[])
# How many uploads of a tenant may wait for their import; together they are as large as one file
# may be.
SCLOUD_UPLOADS_WAITING = env.int("SCLOUD_UPLOADS_WAITING", default=5)
SCLOUD_IMPORT_PORTS = [int(port) for port in env.list("SCLOUD_IMPORT_PORTS", default=[80, 443])]
# Networks of the platform itself that no URL of a tenant may lead to, public ones included; the
# hosts' management addresses are known without being named here.
SCLOUD_PLATFORM_NETWORKS = env.list("SCLOUD_PLATFORM_NETWORKS", default=[])
SCLOUD_GUEST_TIME_ZONE = env.str("SCLOUD_GUEST_TIME_ZONE", default="Asia/Shanghai")

# One JSON object for each line of the log, or plain text; a line for each request, or none.
SCLOUD_LOG_FORMAT = env.str("SCLOUD_LOG_FORMAT", default="plain")
SCLOUD_ACCESS_LOG = env.bool("SCLOUD_ACCESS_LOG", default=False)

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "plain": {"()": "scloud.lib.logs.PlainLines"},
        "json": {"()": "scloud.lib.logs.JsonLines"},
    },
    "filters": {
        "outage": {"()": "scloud.lib.outage.OneLine"},
        "marked": {"()": "scloud.lib.logs.Marked"},
    },
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "formatter": SCLOUD_LOG_FORMAT,
            "filters": ["outage", "marked"],
        }
    },
    "root": {"handlers": ["console"], "level": env.str("SCLOUD_LOG_LEVEL", default="INFO")},
    "loggers": {
        "django.request": {"level": "ERROR"},
        "django-q": {"level": "WARNING"},
        "asyncio": {"level": "WARNING"},
    },
}
