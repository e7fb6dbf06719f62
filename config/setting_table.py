"""Declare each setting once: its variable of the environment, its default and what it is for.

`python -m config.setting_table` writes docs/guides/settings.md from it. A test finds variables that the code reads and
nobody declared, and defaults that differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PLACE = Path(__file__).resolve().parents[1] / "docs" / "guides" / "settings.md"
_HEAD = """# Settings

Made by `python -m config.setting_table` from the declarations in `config/setting_table.py`; do not edit it. Each
setting is a variable of the environment with a default that suits one machine. Give all processes of one installation
the same ones, but for those that say otherwise. A list has commas between its parts.
"""


@dataclass(frozen=True)
class Setting:
    """Hold a setting: what it is for; the text that holds where it is not set; else, in words, what holds then."""

    name: str
    meaning: str
    default: str = ""
    otherwise: str = "none"

    @property
    def default_text(self) -> str:
        return f"`{self.default}`" if self.default else self.otherwise


S = Setting
SETTINGS: dict[str, tuple[Setting, ...]] = {
    "Places": (
        S("ASSAY_DATA", "folder of models, runs, datasets and SQLite's file", otherwise="`data/` beside `manage.py`"),
        S("ASSAY_STORAGE", "what hosts without a shared file system share: a folder, or `s3://bucket/prefix` with "
          "`AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`, … as for any S3 client ([guide](cluster.md))"),
        S("DATABASE_URL", "`postgres://…` for many machines", otherwise="SQLite in `ASSAY_DATA`"),
        S("DATABASE_CONNECTIONS", "connections to Postgres from one process, at most", "8"),
        S("ASSAY_SLOW_WRITE_MS", "a transaction that keeps SQLite's write lock for longer is logged; 0: none", "100"),
        S("REDIS_URL", "`redis://…` where there are several web processes"),
        S("ASSAY_CORPUS_FOLDERS", "more folders that corpora may be read from, with `:` between, as in PATH"),
    ),
    "Pages": (
        S("HOST", "address at which pages are served", otherwise="this machine alone"),
        S("PORT", "port of the pages", "8000"),
        S("DEBUG", "1: errors are shown, static files are served from the source. It cannot be 1 where `HOST` lets "
          "others in", otherwise="1 on this machine alone, else 0"),
        S("SECRET_KEY", "what sessions and links are signed with; required with `DEBUG=0`",
          otherwise="made once and kept in `ASSAY_DATA`"),
        S("ASSAY_KEY_SECRETS", "list: what encrypts the keys of models' endpoints, the newest first; `reseal_keys` "
          "writes them with that one", otherwise="`SECRET_KEY`"),
        S("ALLOWED_HOSTS", "list: names under which the site is served", "localhost,127.0.0.1,[::1],testserver"),
        S("SITE_URL", "how people reach the site, for links in invitations and e-mails",
          otherwise="`http://127.0.0.1` at `PORT`"),
        S("HTTPS", "1: by https alone, with cookies that go no other way",
          otherwise="1 where `SITE_URL` begins with `https://`, else 0"),
        S("TRUSTED_PROXIES", "list: addresses or networks of the proxies whose X-Forwarded-For and X-Request-ID are "
          "believed, and `unix` for those at a Unix socket. Start uvicorn with `--no-proxy-headers`"),
        S("CSRF_TRUSTED_ORIGINS", "list: origins of forms, where a proxy changes the host"),
    ),
    "People": (
        S("ASSAY_SIGN_UP", "1: anybody may make an account",
          otherwise="with an invitation, or to join an open project"),
        S("ASSAY_PROJECTS_PER_PERSON", "projects that somebody may start who is no staff; 0: staff alone", "0"),
        S("ASSAY_SESSION_DAYS", "days after which a session of a person or a visitor ends", "14"),
        S("ASSAY_ADDRESS_DAYS", "days for which the hash of a voter's network address is kept; the last seven tell "
          "votes from one address", "90"),
        S("ASSAY_OIDC_ISSUER", "address of a provider of OpenID Connect that people sign in by "
          "([guide](accounts.md#single-sign-on))"),
        S("ASSAY_OIDC_CLIENT_ID", "what the provider calls this site"),
        S("ASSAY_OIDC_SECRET_FILE", "file with the client's secret", otherwise="none, a public client"),
        S("ASSAY_OIDC_LABEL", "what the button says after *Sign in with*", otherwise="`single sign-on`"),
        S("ASSAY_OIDC_DOMAINS", "list: domains of e-mail addresses whose owners get an account at the first sign-in",
          otherwise="none, the invited alone"),
        S("ASSAY_OIDC_EMAILS_VERIFIED", "1: the provider has verified all addresses, though it does not say so", "0"),
        S("ASSAY_OIDC_PASSWORDS", "0: passwords of this site sign nobody in", "1"),
        S("EMAIL_NOTICES_FROM", "sender of notices by e-mail", otherwise="no e-mail"),
        S("EMAIL_HOST", "the mail server", "localhost"),
        S("EMAIL_PORT", "its port", "25"),
        S("EMAIL_HOST_USER", "its user"),
        S("EMAIL_HOST_PASSWORD", "and password"),
        S("EMAIL_USE_TLS", "1: talk to it by STARTTLS", otherwise="0"),
    ),
    "Models and other servers": (
        S("MODEL_SERVER_URL", "an OpenAI-compatible server; `script/server` starts its own where this is not set",
          "http://127.0.0.1:8001/v1"),
        S("MODEL_SERVER_PORT", "port of the one that `script/server` starts", otherwise="the one after `PORT`"),
        S("MODEL_SERVER_TIMEOUT", "seconds that a model server may send nothing", "120"),
        S("ASSAY_PRIVATE_ENDPOINTS", "list of hosts, addresses or networks: models and judges that only this network "
          "reaches and that may be asked all the same, beside `MODEL_SERVER_URL`"),
        S("ASSAY_PRIVATE_WEBHOOKS", "likewise: where events may be sent"),
        S("WEBHOOK_ALLOW_PRIVATE", "1: events may be sent to every such address", otherwise="0"),
        S("ASSAY_ENDPOINT_KEY", "key of an endpoint, for `import_model` and `register_model` alone, and for a recipe "
          "that is started by hand"),
        S("ASSAY_JUDGE_KEY…", "key of a judge, of the worker alone; the run's config has the variable's name"),
        S("ASSAY_JUDGE_URL…", "the only address to which the key of the same ending goes"),
        S("ASSAY_ROLLOUT_KEY", "key of PPO's rollout server: of that server, and of the workers whose runs ask it"),
        S("ASSAY_ROLLOUT_URL", "the only address to which a worker's `ASSAY_ROLLOUT_KEY` goes"),
        S("HF_TOKEN", "token of a hub, of the worker alone"),
        S("HF_ENDPOINT", "address of the hub", otherwise="`https://huggingface.co`"),
        S("HF_HUB_OFFLINE", "1: ask no hub", otherwise="0"),
        S("ASSAY_HUB_REPOSITORIES", "list of `owner/name` or `owner/*`: where models may be pushed to",
          otherwise="nowhere"),
        S("ASSAY_HUB_SOURCES", "likewise: what imports may read with the worker's `HF_TOKEN`",
          otherwise="what is public"),
        S("ASSAY_IMPORT_GB", "GB that an import may fetch from a hub; 0: no limit", "100"),
    ),
    "Runs": (
        S("RUN_LAUNCHER", "module that starts recipes", otherwise="`training.runs.launchers.local`; `….ray` with "
          "`RAY_ADDRESS`"),
        S("RUN_LEASE_SECONDS", "after which the run of a worker that is silent goes to another", "30"),
        S("RUN_MAX_ATTEMPTS", "losses from one checkpoint after which a run fails", "3"),
        S("RUN_AGEING_HOURS", "wait after which a run counts one priority higher", "24"),
        S("ASSAY_QUOTA_RUNS", "runs of one project at work at once; more wait. Staff may set another for a project, "
          "as of the next two", otherwise="no limit"),
        S("ASSAY_QUOTA_GPU_HOURS", "of one project in 30 days; beyond them no run is ordered", otherwise="no limit"),
        S("ASSAY_QUOTA_DISK_GB", "of the runs and models of one project; likewise", otherwise="no limit"),
        S("ASSAY_NODE_CACHE_GB", "of earlier runs that a node of Ray keeps on its disk, with `ASSAY_STORAGE`; set it "
          "where `ray start` is called; 0: all", "200"),
        S("ASSAY_REWARD_FUNCTIONS", "list of `name=package.module.function`: what may reward a run",
          otherwise="reward models"),
        S("ASSAY_RECIPE_USER", "whom recipes run as, for a worker that root starts", otherwise="the worker's user"),
        S("ASSAY_FORK_SERVER", "1: a worker without GPUs keeps a process that has loaded torch (0.5 GB), and recipes "
          "are forked from it, seconds sooner; 0: none; else the socket of one that several workers share "
          "(`python -m training.runs.launchers.fork_server SOCKET`)", "1"),
        S("ASSAY_RECIPE_NICE", "how far recipes of the launcher `local` stand back from all else on their machine, 0 "
          "to 19: at 10 they get a tenth of a core beside busy pages; 0 where it only trains", "10"),
        S("ASSAY_RECIPE_ENVIRONMENT", "list: more variables that recipes are given; secrets are kept back"),
        S("ASSAY_RECIPE_MEMORY_GB", "memory of one process of a recipe; 0: what the machine has, no limit with GPUs",
          "0"),
        S("ASSAY_RECIPE_FILE_GB", "one file that a recipe writes; 0: no limit", "100"),
        S("ASSAY_RECIPE_PROCESSES", "processes and threads that a recipe may add to its user's; 0: no limit", "4096"),
        S("ASSAY_DTYPE", "precision of weights in recipes", otherwise="what the machine computes fast"),
        S("CUDA_VISIBLE_DEVICES", "GPUs that a worker may give to its recipes", otherwise="all"),
    ),
    "A Ray cluster": (
        S("RAY_ADDRESS", "its dashboard, `http://head:8265`: runs are carried out there ([guide](cluster.md))",
          otherwise="the worker itself carries them out"),
        S("RAY_AUTH_MODE", "`token`: the cluster asks for a token"),
        S("RAY_AUTH_TOKEN", "the token"),
        S("RAY_AUTH_TOKEN_PATH", "or the file that holds it"),
        S("RAY_DASHBOARD_URL", "how people reach the dashboard, for links", otherwise="`RAY_ADDRESS`"),
        S("RAY_RUNTIME_ENV", "Ray's runtime_env of each run, as JSON; the dashboard shows it", "{}"),
        S("RAY_CHECKOUT", "folder of this code on the nodes",
          otherwise="where it lies here, unless `RAY_RUNTIME_ENV` brings it"),
        S("RAY_PYTHON", "Python of the recipes there", otherwise="this one, unless `RAY_RUNTIME_ENV` brings one"),
        S("RAY_CPUS_PER_PROCESS", "CPUs that a run asks for, for each of its processes", "1"),
        S("RAY_GPUS_PER_PROCESS", "likewise", otherwise="1 where a node of the cluster has GPUs, else 0"),
        S("RAY_MEMORY_FACTOR", "of the estimated memory, how much a run asks for; 0: none", "1"),
        S("RAY_RESOURCES", 'custom resources that each run asks for, as JSON, such as `{"training": 1}`', "{}"),
        S("RAY_NODE_WAIT_SECONDS", "that a run waits for a node that could hold it, before it fails", "120"),
        S("RAY_WAITING_RUNS", "runs that may wait for room in the cluster at once", "1"),
    ),
    "Watching": (
        S("LOG_LEVEL", "least level of lines that are logged", "INFO"),
        S("LOG_FORMAT", "`json`: one object a line ([guide](operating.md#logs-and-errors))", "plain"),
        S("SENTRY_DSN", "where errors are reported, without anybody's texts; needs `requirements-sentry.txt`"),
        S("WANDB_API_KEY", "key of W&B, of the background worker alone: figures of runs go there, too; needs "
          "`requirements-trackers.txt` ([guide](runs.md#trackers))"),
        S("WANDB_MODE", "`offline`: W&B's files stay below `ASSAY_DATA/wandb`, until `wandb sync` sends them"),
        S("WANDB_PROJECT", "W&B's project", "assay"),
        S("MLFLOW_TRACKING_URI", "address of an MLflow server: figures of runs go there, too; likewise"),
        S("MLFLOW_HTTP_REQUEST_TIMEOUT", "seconds that it may take to answer", "10"),
        S("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "times that it is asked again at once", "1"),
        S("ASSAY_METRICS_TOKEN", "what Prometheus sends as a bearer token to read `/metrics`",
          otherwise="this machine alone may"),
        S("PROMETHEUS_MULTIPROC_DIR", "folder of counters that web processes at one port share, empty at the start "
          "and on this machine; of the web alone", otherwise="a temporary one where it is needed"),
    ),
}  # fmt: skip

# Written by our own processes for those that they start, or by `accelerate launch`: nothing for operators to set.
INTERNAL = frozenset(
    {"ASSAY_TETHER_FD", "ASSAY_TETHER_PARENT", "ASSAY_SECRETS_DESCRIPTOR", "ASSAY_STEP_LEDGER", "ASSAY_RUN_DIRECTORY"}
    | {"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "ASSAY_DISK_PER_NODE"}
    | {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "PYTORCH_ENABLE_MPS_FALLBACK"}
    | {"GLIBC_TUNABLES"}
    | {"DJANGO_SETTINGS_MODULE", "DISABLE_MULTIPROC", "PYTHONUNBUFFERED", "PATH"}
)


def names() -> dict[str, Setting]:
    """Return all settings by their variables."""
    return {setting.name: setting for group in SETTINGS.values() for setting in group}


def table() -> str:
    """Return the whole page of the guide."""
    parts = [_HEAD]
    for title, settings in SETTINGS.items():
        rows = [f"| `{each.name}` | {each.default_text} | {each.meaning} |" for each in settings]
        parts += [f"## {title}\n", "| setting | default | what it is for |", "|---|---|---|", *rows, ""]
    return "\n".join(parts)


if __name__ == "__main__":
    PLACE.write_text(table(), encoding="utf-8")
