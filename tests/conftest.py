"""What every test gets: a data folder of its own, quick passwords, no hub, and a database as in real life.

SQLite tests run on a file, not in memory: only there do several connections wait for each other as they do in the
product. `DATABASE_URL` and `REDIS_URL` (see tests/support/servers.py) run the same tests on Postgres and Redis.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import dj_database_url
import pytest

from tests.support.migrated import copy_migrated, migrated_template
from tests.support.quick import is_of, is_quick, require_subject
from tests.support.scheduling import ByModule, separate_process, slowest_first

if TYPE_CHECKING:
    from annotate.models import LanguageModel, Project, User
    from tests.support.annotate.openai_server import FakeServer

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # threads that spin take the other processes' cores
os.environ.setdefault("ASSAY_PRIVATE_ENDPOINTS", "127.0.0.1,localhost")  # the tests' own servers, for recipes
os.environ.setdefault("ASSAY_RECIPE_NICE", "0")  # beside other tests a nice recipe gets a tenth of a core
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_XET_HIGH_PERFORMANCE", "1")  # lm-eval sets it; recipes of another environment are not forked
# Playwright's synchronous API runs an event loop, and Django refuses the ORM while one is running in the thread.
os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "1")

_DATABASE_FIXTURES = {"db", "transactional_db", "live_server", "client", "admin_client"}
_ON_POSTGRES = ("tests/site/training/runs/", "tests/recipes/evaluation/", "tests/web/")  # by script/test all


def pytest_configure(config: pytest.Config) -> None:
    from django.conf import settings

    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    if "MODEL_SERVER_URL" not in os.environ:  # not the one of a site that happens to run here
        settings.MODEL_SERVER_URL = "http://127.0.0.1:7/v1"
    require_subject(config.getoption("quick") or "")
    if worker := os.environ.get("PYTEST_XDIST_WORKER"):  # -n 2
        separate_process(worker)
    if config.getoption("quick") is None and (worker or config.getoption("numprocesses", None)):
        from tests.support import fork_servers

        fork_servers.environment_of_recipes()  # before the libraries of tests add to it
        if not worker:
            fork_servers.share_server()
    if folder := config.getoption("--note-statements"):
        from tests.support.statements import NotedStatements  # Django asks for settings

        config.pluginmanager.register(NotedStatements(folder, worker or "alone"))
    use_servers_of_this_process()
    from tests.support.emptying import empty_without_flush  # Django's tests ask for settings

    empty_without_flush()


def use_servers_of_this_process() -> None:
    """Set what the settings had read before the process had a number, and servers, of its own."""
    from django.conf import settings

    if settings.DATABASES["default"]["ENGINE"] != "annotate.core.db.sqlite":
        from config.settings import postgres_options

        database = dj_database_url.parse(os.environ["DATABASE_URL"])
        options = postgres_options(database.get("OPTIONS", {}))
        place = {name: database[name] for name in ("NAME", "USER", "PASSWORD", "HOST", "PORT")}
        settings.DATABASES["default"].update(place, OPTIONS=options)
    if settings.REDIS_URL:
        from config.settings import redis_caches, redis_layers

        settings.REDIS_URL = url = os.environ["REDIS_URL"]
        settings.CHANNEL_LAYERS, settings.CACHES = redis_layers(url), redis_caches(url)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--quick", metavar="SUBJECT", help="pure tests, and those of a subject: see tests/support/quick.py"
    )
    for name, does in (("note", "write there what each test executes"), ("new", "leave out who executes nothing new")):
        parser.addoption(
            f"--{name}-statements", metavar="FOLDER", type=Path, help=f"{does}: tests/support/statements.py"
        )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    subject = config.getoption("quick")
    if subject is None or not collection_path.name.startswith("test_") or is_quick(collection_path, subject):
        return None
    return True


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByModule:
    return ByModule(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """`-m database` chooses what is worth repeating on Postgres."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: slowest_first(item.nodeid))
    for item in items:
        uses_database = _DATABASE_FIXTURES & set(getattr(item, "fixturenames", ()))
        if uses_database or item.get_closest_marker("django_db"):
            item.add_marker(pytest.mark.database)
            require_a_run_of_all(item)
    if (subject := config.getoption("quick")) is not None:
        keep(config, items, {item for item in items if is_for_the_minute(item, subject)})


@pytest.hookimpl(specname="pytest_collection_modifyitems", trylast=True)
def pytest_repeat_new_statements(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Choose among the tests that `-m` has left."""
    if folder := config.getoption("--new-statements"):
        from tests.support.statements import noted_statements, repeated

        keep(config, items, repeated(items, noted_statements(folder)))


def keep(config: pytest.Config, items: list[pytest.Item], chosen: set[pytest.Item]) -> None:
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = [item for item in items if item in chosen]


def require_a_run_of_all(item: pytest.Item) -> None:
    """Raise pytest.UsageError for a test that SQLite leaves to Postgres, in a folder that Postgres leaves out."""
    is_left = item.get_closest_marker("thorough") and not item.get_closest_marker("slow")
    if is_left and not item.nodeid.startswith(_ON_POSTGRES):
        raise pytest.UsageError(f"{item.nodeid} runs nowhere: mark it slow, or have script/test all take its folder.")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Keep the garbage collector from what imports made, as web processes do: it took a sixth of all tests' time."""
    from annotate.core.heap import settle

    settle()
    if "PYTEST_XDIST_WORKER" in os.environ and session.config.getoption("quick") is None:
        from tests.support.fork_servers import forget_what_libraries_added

        forget_what_libraries_added()


def is_for_the_minute(item: pytest.Item, subject: str) -> bool:
    """Return whether `--quick` runs this test: nothing slow, and the database only for the subject."""
    if item.get_closest_marker("slow") or item.get_closest_marker("thorough"):
        return False
    return is_of(item.path, subject) or not item.get_closest_marker("database")


@pytest.fixture(autouse=True)
def data_folder(tmp_path: Path) -> Iterator[Path]:
    """ASSAY_DATA of this test alone."""
    from django.conf import settings

    folder = tmp_path / "assay-data"
    places = {f"{name.upper()}_DIR": folder / name for name in ("runs", "models", "datasets")}
    for path in places.values():
        path.mkdir(parents=True)
    endpoints = ("127.0.0.1", "localhost")  # where the tests' own model servers are
    values = {"DATA_DIR": folder, "STORAGE": "", "PRIVATE_ENDPOINTS": endpoints, "RECIPE_NICE": 0, **places}
    # Django's override_settings tells seventy receivers of each, none of which keeps any of these.
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setattr(settings, name, value)
        yield folder


@pytest.fixture(scope="session")
def django_db_keepdb() -> bool:
    """SQLite's test database is a copy of a migrated file, and goes with the temporary folder that it lies in."""
    from django.conf import settings

    return settings.DATABASES["default"]["ENGINE"] == "annotate.core.db.sqlite"


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    django_db_modify_db_settings_parallel_suffix: None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from django.conf import settings

    database = settings.DATABASES["default"]
    if database["ENGINE"] == "annotate.core.db.sqlite":
        file = tmp_path_factory.mktemp("database") / "test.sqlite3"
        copy_migrated(file)
        database.setdefault("TEST", {}).update(NAME=str(file), MIGRATE=False)
        # Ten milliseconds for each commit, for rows that nobody keeps. What is shipped is tested in test_visitors.
        options = database["OPTIONS"]
        database["OPTIONS"] = {
            **options,
            "init_command": options["init_command"].replace("=FULL", "=NORMAL"),
            "slow_write_seconds": 0,  # most tests are one transaction
        }
    elif "DATABASE_URLS" in os.environ:
        database.setdefault("TEST", {}).update(TEMPLATE=migrated_template(os.environ["DATABASE_URL"]))


@pytest.fixture(autouse=True)
def _empty_cache() -> None:
    """Throttles count in the cache; one test's count must not stop another."""
    from django.core.cache import cache

    cache.clear()


@pytest.fixture(scope="session")
def assay_client(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The package `assay_client`, made of the schema as it is now."""
    from tests.support.python_client import import_python_client

    return import_python_client(tmp_path_factory.mktemp("python-client"))


@pytest.fixture
def project(db: None) -> Project:
    from tests.support.factories import make_project

    return make_project()


@pytest.fixture
def user(project: Project) -> User:
    """Return a member who annotates."""
    from tests.support.factories import make_user

    return make_user(project)


@pytest.fixture
def researcher(project: Project) -> User:
    from tests.support.factories import make_user

    return make_user(project, role="researcher")


@pytest.fixture
def manager(project: Project) -> User:
    from tests.support.factories import make_user

    return make_user(project, role="manager")


@pytest.fixture
def pair(db: None) -> list[LanguageModel]:
    """Return two models, for a battle."""
    from tests.support.factories import make_model

    return [make_model(), make_model()]


@pytest.fixture
def no_process_by_get(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a GET of the test client fail where it starts a process."""
    from django.test import Client

    get = Client.get

    def started(*arguments: Any, **options: Any) -> None:
        raise AssertionError(f"A GET starts a process: {arguments}")

    def watched(self: Client, *arguments: Any, **options: Any) -> Any:
        with monkeypatch.context() as while_it_lasts:
            while_it_lasts.setattr(subprocess, "Popen", started)
            return get(self, *arguments, **options)

    monkeypatch.setattr(Client, "get", watched)


@pytest.fixture
def forked_programs() -> Iterator[None]:
    """Have the Python programs of this test forked where this process has a fork server of tests of sites already."""
    from tests.support.programs import forked

    with forked():
        yield


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """A tiny model's products are too small to share between threads."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def in_ci() -> bool:
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


def missing(what: str, remedy: str) -> None:
    """Skip for want of `what` on somebody's laptop; fail in CI, where nothing may be skipped silently."""
    (pytest.fail if in_ci() else pytest.skip)(f"{what} is missing: {remedy}")


@pytest.fixture
def somebody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model server that would write whatever answer is wanted, and is not asked in this test."""
    from annotate.language_models import model_server

    monkeypatch.setattr(model_server, "held_models", lambda url: None)


@pytest.fixture
def fake(settings: Any) -> Iterator[FakeServer]:
    """A model server that answers as a test tells it to, as the one that this site talks with."""
    from tests.support.annotate.openai_server import openai_server

    with openai_server() as server:
        settings.MODEL_SERVER_URL = server.url
        yield server
