"""What the API says when something is wrong with the request itself, and how it describes itself."""

from __future__ import annotations

import pytest
from django.db import OperationalError
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema

from tests.support.api_client import Program, errors, program
from tests.support.factories import PASSWORD, make_assignment, make_pair, make_project, make_user

pytestmark = pytest.mark.django_db


def test_a_name_and_a_password_give_a_token_that_signs_in():
    user = make_user(make_project())
    token = Program().post("auth/token/", {"username": user.username, "password": PASSWORD}).json()["token"]
    client = Program()
    client.http.credentials(HTTP_AUTHORIZATION=f"Token {token}")
    assert client.get("comparisons/").status_code == 200


def test_a_wrong_password_is_refused_without_telling_whether_the_name_exists():
    user = make_user()
    wrong = errors(Program().post("auth/token/", {"username": user.username, "password": "no"}))
    unknown = errors(Program().post("auth/token/", {"username": "nobody", "password": "no"}))
    assert wrong == unknown and set(wrong) == {"password"}


def test_guessing_passwords_is_slowed_down():
    for _ in range(20):
        Program().post("auth/token/", {"username": "victim", "password": "no"})
    response = Program().post("auth/token/", {"username": "victim", "password": "no"})
    assert response.status_code == 429 and response["Retry-After"]
    assert errors(response, 429)


def test_without_an_account_and_with_a_wrong_token_the_remedy_is_named():
    assert "auth/token/" in errors(Program().get("runs/"), 401)["authorization"]
    client = Program()
    client.http.credentials(HTTP_AUTHORIZATION="Token wrong")
    assert "auth/token/" in errors(client.get("runs/"), 401)["authorization"]


def test_an_unknown_address_is_json_too():
    assert "/api/docs/" in errors(program().get("rnus/"), 404)["address"]


def test_a_wrong_method_names_the_right_ones():
    assert "POST" in errors(program().http.put("/api/v1/prompts/", {}, format="json"), 405)["method"]


def test_another_content_type_is_refused():
    response = program().http.post("/api/v1/prompts/", data="a=b", content_type="application/x-www-form-urlencoded")
    assert "application/json" in errors(response, 415)["Content-Type"]


def test_a_body_beyond_the_limit_is_refused(settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    for key in ("", "k1"):
        told = errors(program().post("prompts/", {"project": "x", "text": "y" * 2000}, key=key), 413)
        assert "parts" in told["body"]


def test_a_body_that_no_answer_can_repeat_and_no_database_keep_is_refused():
    project = make_project()
    researcher, (a, _) = program(project, "researcher"), make_pair(project)
    for address, body in {
        "runs": '{"\\ud800": 1}',
        "completions": f'{{"prompt": {a.prompt_id}, "text": "x", "sampling": {{"top_k": 1e999}}}}',
    }.items():
        errors(researcher.http.post(f"/api/v1/{address}/", data=body, content_type="application/json"), 400)


def test_what_nobody_expected_is_reported_and_says_no_detail(monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("secret detail")

    monkeypatch.setattr("annotate.projects.api.projects_where", broken)
    client = program()
    with pytest.raises(RuntimeError):  # the test client sees what an error reporter would be told
        client.get("projects/")
    client.http.raise_request_exception = False
    response = client.get("projects/")
    assert errors(response, 500) and "secret" not in response.content.decode()


def test_the_schema_is_valid_and_free_of_warnings():
    GENERATOR_STATS.reset()
    schema = SchemaGenerator().get_schema(request=None, public=True)
    validate_schema(schema)
    assert not GENERATOR_STATS, GENERATOR_STATS.emit_summary()
    paths = {path.removeprefix("/api/v1/") for path in schema["paths"]}
    assert {
        "auth/token/",
        "projects/{slug}/assignments/",
        "assignments/{id}/submit/",
        "battles/{token}/vote/",
        "datasets/{id}/export/",
        "runs/{id}/metrics/",
        "leaderboard/",
        "evaluations/",
    } <= paths


def test_the_schema_says_of_each_operation_how_it_refuses_and_of_each_long_list_that_it_comes_in_pages():
    schema = SchemaGenerator().get_schema(request=None, public=True)
    operations = [(path, one) for path, methods in schema["paths"].items() for one in methods.values()]
    assert all("4XX" in one["responses"] for _, one in operations)
    project = make_project()
    manager = program(project, "manager")
    for path in ("audit", "attacks"):
        told = schema["paths"][f"/api/v1/projects/{{slug}}/{path}/"]["get"]
        name = told["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        page = schema["components"]["schemas"][name]["properties"]
        assert set(manager.get(f"projects/{project.slug}/{path}/").json()) == set(page)
        assert {"cursor", "page_size"} <= {one["name"] for one in told["parameters"]}


@pytest.mark.parametrize("path", ["prompts", "completions", "ratings", "comparisons", "demonstrations"])
def test_the_schema_says_that_one_row_answers_one_and_a_list_a_list(path):
    schema = SchemaGenerator().get_schema(request=None, public=True)
    operation = schema["paths"][f"/api/v1/{path}/"]["post"]
    for told in (operation["requestBody"], operation["responses"]["201"]):
        name = told["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        one, many = schema["components"]["schemas"][name]["oneOf"]
        assert many == {"type": "array", "items": one}
    assert not [one for one in operation["parameters"] if one["in"] == "query"], "what is sent has no pages"


@pytest.mark.parametrize("path", ["projects/{slug}/export/", "datasets/{id}/export/"])
def test_the_schema_lets_a_file_of_json_hold_anything(path):
    told = SchemaGenerator().get_schema(request=None, public=True)["paths"][f"/api/v1/{path}"]["get"]["responses"]
    assert told["200"]["content"]["application/json"]["schema"] == {}
    assert told["200"]["content"]["application/x-ndjson"]["schema"]["format"] == "binary"


def test_the_docs_page_opens_without_an_account(client):
    assert client.get("/api/docs/").status_code == 200
    assert client.get("/api/schema/").status_code == 200


ODD = [
    None,
    0,
    -1,
    1.5,
    10**30,
    True,
    "",
    " ",
    "x",
    "model_a",
    "a\x00b",
    "x" * 300,
    "ü" * 50,
    [],
    [1],
    [[]],
    {},
    {"a": 1},
]


def _fields(schema: dict, operation: dict) -> list[str]:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    components = schema["components"]["schemas"]
    form = components.get(content.get("$ref", "").rpartition("/")[2], {})
    if "oneOf" in form:  # one row or a list
        form = components[form["oneOf"][0]["$ref"].rpartition("/")[2]]
    return list(form.get("properties", {}))


def _good(project) -> dict:
    """Right values for the fields that stand in the way of the others."""
    a, b = make_pair(project)
    return {
        "project": project.slug,
        "prompt": a.prompt_id,
        "completion": a.pk,
        "completion_a": a.pk,
        "completion_b": b.pk,
        "kind": "preferences",
        "name": "name",
        "text": "text",
        "parent": a.model_id,
        "model": a.model_id,
        "winner": "tie",
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("role", "part"),
    [
        ("manager", 4),
        pytest.param("manager", 1, marks=pytest.mark.thorough),
        pytest.param("annotator", 3, marks=pytest.mark.thorough),  # most of it is refused before it is read
    ],
)
def test_no_odd_body_and_no_odd_address_makes_the_api_fail(role, part):
    """Every operation of the schema, each of its fields, with values that nobody expects there: or each `part`th."""
    project = make_project()
    client = program(project, role, is_staff=role == "manager")
    good = _good(project)
    schema = SchemaGenerator().get_schema(request=None, public=True)
    tried = 0
    for path, operations in list(schema["paths"].items())[::part]:
        address = path.removeprefix("/api/v1/").replace("{slug}", project.slug)
        addresses = [address.replace("{id}", pk).replace("{token}", pk) for pk in ("1", "x", "0", "9" * 30, "%00")]
        for method, operation in operations.items():
            if method == "get":
                query = {p["name"]: "a\x00b" for p in operation.get("parameters", []) if p["in"] == "query"}
                for one in addresses:
                    tried += _checked(client.get(one)) + _checked(client.get(one, **query))
            elif method == "post" and "battles/" not in path:
                fields = _fields(schema, operation)
                body = {name: good[name] for name in fields if name in good}
                bodies = [*ODD, *({**body, name: value} for name in fields for value in ODD)]
                takes_lists = path.count("/") == 4  # /api/v1/prompts/ and the like
                for one in bodies:
                    tried += _checked(client.post(addresses[0], one))
                    tried += _checked(client.post(addresses[0], [one])) if takes_lists else 0
    assert tried > 1000 / part


def _checked(response) -> int:
    if response.status_code >= 400:
        assert response.status_code < 500
        errors(response, response.status_code)
    return 1


@pytest.mark.parametrize("name", ["Anna", "ANNA ", "\uff41nna"])
def test_a_name_in_other_letters_is_the_same_name_for_guessers(name, client):
    for _ in range(20):
        Program().post("auth/token/", {"username": "anna", "password": "?"})
    assert Program().post("auth/token/", {"username": name, "password": "?"}).status_code == 429
    assert "Too many tries" in client.post("/sign-in/", {"login": f" {name}", "password": "?"}).content.decode()


def test_guessing_passwords_is_slowed_down_whatever_address_the_guesser_invents():
    guesser = Program()
    tries = [
        guesser.post("auth/token/", {"username": "anna", "password": "?"}, HTTP_X_FORWARDED_FOR=f"203.0.113.{n}")
        for n in range(21)
    ]
    assert tries[-1].status_code == 429 and "Retry-After" in tries[-1]


def test_a_database_that_does_not_answer_is_told_as_such_and_nothing_is_lost(monkeypatch):
    project = make_project()
    client = program(project)
    assignment = make_assignment(client.user, *make_pair(project))

    def no_connection(**_: object) -> None:
        raise OperationalError("couldn't get a connection after 30.00 sec")

    address = f"assignments/{assignment.pk}/submit/"
    with monkeypatch.context() as patched:
        patched.setattr("annotate.labelling.actions.prepare", no_connection)
        refused = client.post(address, {"winner": "model_a"}, key="k")
    assert "Send the request again" in errors(refused, 503)["server"]
    assert refused.headers["Retry-After"] == "5"
    assert client.post(address, {"winner": "model_a"}, key="k").status_code == 201
