"""What somebody who means harm tries: each attempt is a row that says who, what and which refusal is expected.

The world is a private project with one of everything, whose names and texts hold CANARY: no refusal may repeat it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from annotate.consumers import BattleConsumer
from annotate.core.errors import Refused
from annotate.models import ApiToken, LanguageModel, Membership, User
from annotate.playground.playground_consumer import PlaygroundConsumer
from annotate.projects import invitations
from tests.support.api_client import ROOT, Program, errors
from tests.support.everything import one_of_everything
from tests.support.factories import make_model, make_project, make_prompt, make_token, make_user
from training.consumers import RunList, RunPage
from training.corpora import actions as corpora
from training.models import Run

pytestmark = pytest.mark.django_db
CANARY = "canary-7f3a"
GONE = {404}  # of what is another project's nothing is told
WRONG = {400}
NOT_YOURS = {403}
SIGN_IN = {401}
Expected = set[int] | str


@dataclass(frozen=True)
class Attempt:
    """`path` and `body` may hold names of the world in braces, such as {run.pk}.

    `expected`: the statuses, or the field that a 400 must name. An order that lacks something is refused for that, too.
    """

    who: str
    what: str
    method: str
    path: str
    expected: Expected
    body: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.who}: {self.what}"


def rival(what: str, method: str, path: str, expected: Expected, **body: Any) -> Attempt:
    """A researcher of another project, through the API."""
    return Attempt("rival", what, method, path, expected, body)


def boss(what: str, method: str, path: str, expected: Expected, **body: Any) -> Attempt:
    """A manager of another project, through the API."""
    return Attempt("boss", what, method, path, expected, body)


def annotator(what: str, method: str, path: str, expected: Expected, **body: Any) -> Attempt:
    """An annotator of the project itself, through the API."""
    return Attempt("annotator", what, method, path, expected, body)


def visitor(what: str, method: str, path: str, expected: Expected, **body: Any) -> Attempt:
    return Attempt("visitor", what, method, path, expected, body)


def order(kind: str, **fields: Any) -> dict[str, Any]:
    return {"kind": kind, "project": "{mine.slug}", "name": "stolen", **fields}


def corpus(source: str) -> dict[str, Any]:
    return order("corpus", config={"sources": source})


ATTEMPTS = [
    # Models and weights
    rival("reads another project's model", "get", "models/{model.pk}/", GONE),
    rival("reads its card", "get", "models/{model.pk}/card/", GONE),
    rival("asks where it is served", "get", "models/{model.pk}/serving/", GONE),
    rival("has it loaded", "post", "models/{model.pk}/serving/", GONE),
    rival("enters it into their own arena", "post", "models/{model.pk}/enter/", GONE, project="{mine.slug}"),
    rival("shares it with themselves", "post", "models/{model.pk}/share/", GONE, shared=True),
    rival("retires it", "post", "models/{model.pk}/retire/", GONE, reason="mine"),
    rival("reads what alignment cost it", "get", "models/{model.pk}/tax/", GONE),
    boss("promotes it in their own project", "post", "promotions/", "model", project="{mine.slug}",
         model="{model.pk}", reason="mine"),
    boss("enters it into their own arena", "post", "models/{model.pk}/enter/", GONE, project="{mine.slug}"),
    boss("shares it with everybody", "post", "models/{model.pk}/share/", GONE, shared=True),
    boss("retires it", "post", "models/{model.pk}/retire/", GONE, reason="mine"),
    rival("downloads exported weights", "get", "runs/{run.pk}/export/model.gguf", GONE),
    rival("registers weights out of a run's folder", "post", "models/", "folder", name="x", folder="runs/1/model"),
    rival("registers a folder beside the models", "post", "models/", "folder", name="x", folder="models/../secret-key"),
    rival("registers the cloud's own address", "post", "models/", "endpoint", name="x", served_name="x",
          endpoint="http://169.254.169.254/v1"),
    rival("registers into the other project", "post", "models/", GONE, name="x", served_name="x",
          endpoint="https://93.184.215.14/v1", project="{theirs.slug}"),
    # Runs that take what is not theirs
    rival("trains from it", "post", "runs/", "parent", **order("sft", parent="{model.pk}")),
    rival("exports it", "post", "runs/", "parent", **order("export", parent="{model.pk}")),
    rival("is rewarded by another's reward model", "post", "runs/", "reward_model",
          **order("ppo", parent="{base.pk}", reward_model="{reward.pk}")),
    rival("trains on another's dataset", "post", "runs/", "dataset",
          **order("sft", parent="{base.pk}", dataset="{dataset.pk}")),
    rival("clones another's run", "post", "runs/", "cloned_from",
          **order("sft", parent="{base.pk}", cloned_from="{run.pk}")),
    rival("queues in the other project", "post", "runs/", GONE, kind="sft", project="{theirs.slug}", name="x"),
    rival("measures it", "post", "evaluations/alike/", "models", project="{mine.slug}", models=["{model.pk}"], name="x",
          config={"measure": "choices"}),
    rival("compares it with their own", "get", "evaluations/compare/?project={mine.slug}&task=x&models={model.pk}",
          WRONG | GONE),
    rival("makes instructions of another's dataset", "post", "instructions/", WRONG | GONE, project="{mine.slug}",
          datasets=["{dataset.pk}"], name="x"),
    rival("runs a shell as a reward", "post", "runs/", "config.reward_function",
          **order("ppo", parent="{base.pk}", config={"reward_function": "pydoc.pipepager"})),
    rival("runs os.system as a reward", "post", "runs/", "config.reward_function",
          **order("ppo", parent="{base.pk}", config={"reward_function": "os.system"})),
    rival("pushes to a repository of their choice", "post", "runs/", "config.repository",
          **order("export", parent="{base.pk}", config={"to": "hub", "repository": "evil/weights"})),
    # Corpora
    rival("reads another project's upload by a path up", "post", "runs/", "config.sources",
          **corpus("../{theirs.slug}/a.txt")),
    rival("reads it by its full path", "post", "runs/", "config.sources", **corpus("{upload}")),
    rival("reads it as a hub corpus", "post", "runs/", "config.sources", **corpus("hub:assay-data/corpus-uploads")),
    rival("reads a folder of this machine as a hub corpus", "post", "runs/", "config.sources", **corpus("hub:./data")),
    rival("reads the machine's passwords", "post", "runs/", "config.sources", **corpus("/etc/passwd")),
    rival("lists another project's corpora", "get", "corpora/?project={theirs.slug}", GONE),
    # Other projects' runs, and their logs
    rival("reads a run", "get", "runs/{run.pk}/", GONE),
    rival("reads its figures", "get", "runs/{run.pk}/metrics/", GONE),
    rival("reads its samples", "get", "runs/{run.pk}/samples/", GONE),
    rival("reads its order", "get", "runs/{run.pk}/order/", GONE),
    rival("cancels it", "post", "runs/{run.pk}/cancel/", GONE),
    rival("resumes it", "post", "runs/{run.pk}/resume/", GONE),
    rival("queues it again", "post", "runs/{run.pk}/again/", GONE),
    rival("prunes the other project", "post", "disk/prune/", GONE, project="{theirs.slug}"),
    rival("prunes another's run by its number", "post", "disk/prune/", "run", project="{mine.slug}", run="{run.pk}"),
    # Data
    rival("reads a dataset", "get", "datasets/{dataset.pk}/", GONE),
    rival("downloads it", "get", "datasets/{dataset.pk}/export/", GONE),
    rival("exports all that was said", "get", "projects/{theirs.slug}/export/", GONE),
    rival("adds an answer to another's prompt", "post", "completions/", "prompt", prompt="{prompt.pk}", text="x"),
    rival("gives an answer another's name", "post", "completions/", "model", prompt="{own_prompt.pk}", text="x",
          model="{model.pk}"),
    rival("reads the audit trail", "get", "projects/{theirs.slug}/audit/", GONE),
    rival("talks with what is served there", "post", "projects/{theirs.slug}/default-model/v1/chat/completions", GONE,
          messages=[{"role": "user", "content": "Hello"}]),
    # Webhooks, invitations
    rival("reads a webhook", "get", "webhooks/{webhook.pk}/", GONE),
    rival("has its secret rotated", "post", "webhooks/{webhook.pk}/rotate-secret/", GONE),
    rival("sends its deliveries again", "post", "webhooks/{webhook.pk}/send-again/", GONE),
    rival("hangs one on the other project", "post", "webhooks/", GONE, project="{theirs.slug}",
          url="https://example.org/"),
    rival("lists invitations", "get", "projects/{theirs.slug}/invitations/", GONE),
    rival("invites themselves", "post", "projects/{theirs.slug}/invitations/", GONE, role="manager"),
    rival("takes up a made-up invitation", "post", "invitations/accept/", {410}, token="a" * 43),
    rival("takes up one that was taken back", "post", "invitations/accept/", {410}, token="{revoked}"),
    rival("joins a closed project", "post", "projects/{theirs.slug}/join/", GONE | NOT_YOURS),
    rival("revokes somebody's token", "delete", "auth/tokens/{token.pk}/", GONE),
    # An annotator wants more than to judge
    annotator("starts a run", "post", "runs/", NOT_YOURS, kind="sft", project="{theirs.slug}", name="x"),
    annotator("cancels a run", "post", "runs/{run.pk}/cancel/", NOT_YOURS),
    annotator("downloads weights", "get", "runs/{run.pk}/export/model.gguf", NOT_YOURS),
    annotator("has a model loaded", "post", "models/{model.pk}/serving/", NOT_YOURS),
    annotator("shares a model", "post", "models/{model.pk}/share/", NOT_YOURS, shared=True),
    annotator("retires a model", "post", "models/{model.pk}/retire/", NOT_YOURS, reason="x"),
    annotator("promotes a model", "post", "promotions/", NOT_YOURS, project="{theirs.slug}", model="{model.pk}",
              reason="x"),
    annotator("downloads a dataset", "get", "datasets/{dataset.pk}/export/", NOT_YOURS),
    annotator("exports what others said", "get", "projects/{theirs.slug}/export/", NOT_YOURS),
    annotator("reads the known answers", "get", "projects/{theirs.slug}/gold/", NOT_YOURS),
    annotator("reads who changed what", "get", "projects/{theirs.slug}/audit/", NOT_YOURS),
    annotator("makes themselves a manager", "post", "projects/{theirs.slug}/members/", NOT_YOURS,
              username="{annotator.username}", role="manager"),
    annotator("makes themselves an invitation", "post", "projects/{theirs.slug}/invitations/", NOT_YOURS,
              role="manager"),
    annotator("hangs up a webhook", "post", "webhooks/", NOT_YOURS, project="{theirs.slug}",
              url="https://example.org/"),
    annotator("answers another's task", "post", "assignments/{assignment.pk}/submit/", GONE | NOT_YOURS,
              winner="model_a"),
    annotator("reads another's vote", "get", "comparisons/{comparison.pk}/", GONE | NOT_YOURS),
    annotator("makes a vote count", "post", "comparisons/{comparison.pk}/status/", GONE | NOT_YOURS,
              status="excluded", reason="x"),
    annotator("votes in another's battle", "post", "battles/{battle.token}/vote/", GONE, winner="model_a", token="x"),
    annotator("goes on with another's attack", "post", "talks/{talk.token}/say/", GONE, text="x"),
    annotator("prunes checkpoints", "post", "disk/prune/", NOT_YOURS, project="{theirs.slug}"),
    annotator("lists corpora", "get", "corpora/?project={theirs.slug}", NOT_YOURS),
    annotator("turns the project's settings", "patch", "projects/{theirs.slug}/", NOT_YOURS, is_public=True),
    # A visitor
    visitor("reads a private project", "get", "projects/{theirs.slug}/", GONE | SIGN_IN),
    visitor("reads its leaderboard", "get", "leaderboard/?project={theirs.slug}", GONE),
    visitor("starts a battle there", "post", "battles/", GONE | NOT_YOURS, project="{theirs.slug}", drawn=True),
    visitor("reads another's battle", "get", "battles/{battle.token}/", GONE),
    visitor("votes in another's battle", "post", "battles/{battle.token}/vote/", GONE, winner="model_a", token="x"),
    visitor("reads a run", "get", "runs/{run.pk}/", SIGN_IN | GONE),
    visitor("reads a run's items", "get", "runs/{run.pk}/items/", SIGN_IN | GONE),
    visitor("reads a model", "get", "models/{model.pk}/", SIGN_IN),
    visitor("registers a model", "post", "models/", SIGN_IN, name="x"),
    visitor("makes a token", "post", "auth/tokens/", SIGN_IN, name="x", scope="manage"),
    visitor("starts a project", "post", "projects/", SIGN_IN, slug="x", name="x"),
]  # fmt: skip


@pytest.fixture
def world(data_folder, settings) -> SimpleNamespace:
    settings.BASE_DIR = data_folder.parent  # ASSAY_DATA is below it, as it is by default
    theirs, mine = make_project(is_public=False, name=f"Project {CANARY}"), make_project(is_public=False)
    made = one_of_everything(theirs)
    for model in LanguageModel.objects.all():
        LanguageModel.objects.filter(pk=model.pk).update(name=f"{CANARY}-{model.pk}")
    reward = make_model(name=f"{CANARY}-reward", kind="reward", is_shared=False, project=theirs)
    Run.objects.filter(pk=made["run"].pk).update(name=f"{CANARY} run", kind="export")
    run = Run.objects.get(pk=made["run"].pk)
    run.path.mkdir(parents=True)
    (run.path / "log.txt").write_text(f"{CANARY} in the log")
    boss = made["manager"]
    invitation, revoked = invitations.invite(project=theirs, role="manager", by=boss)
    invitations.revoke(invitation=invitation, by=boss)
    upload = corpora.upload_folder(theirs) / "a.txt"
    upload.parent.mkdir(parents=True)
    upload.write_text(CANARY)
    rival = make_user(mine, role="researcher")
    found = {name.replace("import", "importing"): row for name, row in made.items()} | {"run": run}
    more = {"theirs": theirs, "mine": mine, "rival": rival, "annotator": make_user(theirs), "reward": reward}
    more["boss"] = make_user(mine, role="manager")
    own = {"base": make_model(name="base"), "own_prompt": make_prompt(mine), "revoked": revoked, "upload": upload}
    return SimpleNamespace(**found | more | own)


def filled(value: Any, world: SimpleNamespace) -> Any:
    """With names in braces replaced by what they are in this world; ids stay numbers."""
    if isinstance(value, dict):
        return {key: filled(each, world) for key, each in value.items()}
    if isinstance(value, list):
        return [filled(each, world) for each in value]
    if not isinstance(value, str) or "{" not in value:
        return value
    text = value.format(**vars(world))
    return int(text) if value.endswith(".pk}") and value.startswith("{") else text


def person(who: str, world: SimpleNamespace) -> User | None:
    return None if who == "visitor" else getattr(world, who)


@pytest.mark.parametrize("attempt", ATTEMPTS, ids=str)
def test_it_is_refused_and_tells_nothing(world, attempt):
    before = (Run.objects.count(), LanguageModel.objects.filter(is_shared=True).count(), Membership.objects.count())
    program = Program(person(attempt.who, world))
    path, body = ROOT + filled(attempt.path, world), filled(attempt.body, world)
    sent = {} if attempt.method == "get" else {"data": body, "format": "json"}
    response = getattr(program.http, attempt.method)(path, **sent)
    if isinstance(attempt.expected, str):
        assert attempt.expected in errors(response), response.content[:300]
    else:
        assert response.status_code in attempt.expected, (response.status_code, response.content[:300])
    if attempt.who != "annotator":  # who is a member, and may know the project's names
        assert CANARY not in response.content.decode()
    after = (Run.objects.count(), LanguageModel.objects.filter(is_shared=True).count(), Membership.objects.count())
    assert after == before


PAGES = [
    *[("rival", name, "model.pk") for name in ("model", "model-card", "lineage", "tax", "playground", "model-serving")],
    *[("rival", name, "run.pk") for name in ("run", "run-figures", "run-yaml", "run-log", "run-items")],
    *[("rival", name, "dataset.pk") for name in ("dataset",)],
    *[("rival", name, "theirs.slug") for name in ("project", "runs", "models", "audit", "people", "disk", "data")],
    *[("visitor", name, "theirs.slug") for name in ("project", "arena", "leaderboard", "runs", "votes")],
    *[("visitor", name, "run.pk") for name in ("run", "run-yaml", "run-log")],
    *[("annotator", name, "theirs.slug") for name in ("audit", "people", "project-settings", "gold", "disk")],
    *[("annotator", name, "model.pk") for name in ("playground", "model-serving")],
]  # fmt: skip


@pytest.mark.parametrize(("who", "name", "row"), PAGES, ids=str)
def test_pages_of_it_are_refused(world, who, name, row):
    browser, user = Client(), person(who, world)
    if user is not None:
        browser.force_login(user)
    response = browser.get(reverse(name, args=[filled(f"{{{row}}}", world)]))
    to_sign_in = response.status_code == 302 and response.url.startswith("/sign-in/")
    assert to_sign_in or response.status_code in (403, 404), response.status_code
    assert who == "annotator" or CANARY not in response.content.decode()


def test_an_order_as_yaml_finds_no_model_by_its_name(world):
    text = f"kind: export\nname: stolen\nparent: {world.model.name}\n"
    address = f"{ROOT}runs/from-yaml/?project={world.mine.slug}"
    response = Program(world.rival).http.post(address, text, content_type="application/yaml")
    assert response.status_code == 400 and "parent" in response.json()["errors"] and not world.mine.runs.exists()


def test_an_annotator_does_not_see_the_log(world):
    browser = Client()
    browser.force_login(world.annotator)
    page = browser.get(reverse("run", args=[world.run.pk]), {"tab": "log"}).content.decode()
    assert f"{CANARY} in the log" not in page and "Only researchers of the project see the log" in page
    assert browser.get(reverse("run-log", args=[world.run.pk])).status_code == 403


@pytest.mark.parametrize("who", ["rival", "visitor"])
def test_sockets_are_shut(world, who):
    user, run = person(who, world) or AnonymousUser(), {"run_id": world.run.pk, "slug": world.theirs.slug}
    for consumer in (RunPage, RunList):
        page = consumer()
        page.scope, page.query = {"user": user, "url_route": {"kwargs": run}}, {}
        assert page.open() is False
    talk = PlaygroundConsumer()
    talk.scope = {"user": user, "url_route": {"kwargs": {"pk": world.model.pk}}}
    with pytest.raises(Refused):
        talk._models()
    battle = BattleConsumer()
    token = {"kwargs": {"token": world.battle.token}}
    battle.scope = {"user": user, "session": Client().session, "url_route": token}
    assert battle._battle() is None


@pytest.mark.parametrize(
    ("what", "fields", "expected"),
    [
        ("revoked", {"revoked_at": "2026-01-01T00:00:00Z"}, SIGN_IN),
        ("run out", {"expires_at": "2026-01-01T00:00:00Z"}, SIGN_IN),
        ("a reader's that writes", {"scope": "read"}, NOT_YOURS),
        ("an annotator's that exports", {"scope": "judge"}, NOT_YOURS),
        ("a researcher's that invites", {"scope": "research"}, NOT_YOURS),
    ],
)
def test_a_token_that_was_found_does_no_more_than_it_says(world, what, fields, expected):
    secret = make_token(world.manager)
    ApiToken.objects.filter(user=world.manager).update(**fields)
    program = Program()
    program.http.credentials(HTTP_AUTHORIZATION=f"Token {secret}")
    body = {"role": "manager"}
    assert program.post(f"projects/{world.theirs.slug}/invitations/", body).status_code in expected
    assert program.post("auth/tokens/", {"name": "wider", "scope": "manage"}).status_code in expected
    assert ApiToken.objects.filter(name="wider").count() == 0


@pytest.mark.parametrize("sent", ["Token ", "Token null", "Token %s", "Bearer %s", "Basic %s"])
def test_a_hash_that_was_read_in_a_backup_opens_nothing(world, sent):
    row = ApiToken.objects.get(pk=world.token.pk)
    program = Program()
    program.http.credentials(HTTP_AUTHORIZATION=sent % row.secret_hash if "%" in sent else sent)
    assert program.get("auth/tokens/").status_code == 401


def test_another_s_idempotency_key_gives_no_answer_of_theirs(world):
    key, slug = "the-key-of-somebody-else", world.theirs.slug
    sent = {"slug": "new", "name": f"New {CANARY}"}
    staff = make_user(is_staff=True)
    assert Program(staff).post("projects/", sent, key=key).status_code == 201
    response = Program(world.rival).post("projects/", sent, key=key)
    assert response.status_code == 403 and CANARY not in response.content.decode()
    assert slug not in response.content.decode()


@pytest.mark.parametrize("name", ["../../evil.txt", "a.py", ".hidden.txt", "a.txt.gz.sh", "a" * 120 + ".txt"])
def test_an_upload_keeps_to_its_folder_and_kinds(world, name):
    boss = make_user(world.mine, role="manager")
    file = SimpleUploadedFile("x.txt", b"text")
    file._name = name
    folder = corpora.upload_folder(world.mine)
    try:
        kept = corpora.upload(project=world.mine, file=file, by=boss)
        assert (folder / kept.name).is_file() and "/" not in kept.name
    except Refused as refused:
        assert refused.errors["file"]
    assert not (folder.parent / "evil.txt").exists() and not (folder.parent.parent / "evil.txt").exists()


def test_there_are_at_least_forty():
    assert len(ATTEMPTS) + len(PAGES) >= 40
