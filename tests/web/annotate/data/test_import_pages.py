"""Pages and API of imports and webhooks, and the command: the same rules by each way."""

from __future__ import annotations

import json

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.urls import reverse

from annotate.models import Comparison, Delivery, Import, Webhook
from common.texts import time_left
from tests.support.annotate.importing import add_by_page, look_at, work_off_imports
from tests.support.api_client import ROOT, Program, errors
from tests.support.factories import make_project, make_user, sign_in

pytestmark = pytest.mark.django_db
GOOD = [{"prompt": f"Question {n}?", "chosen": f"<b>Good</b> {n}.", "rejected": f"Bad {n}."} for n in range(12)]


@pytest.fixture
def project():
    return make_project(is_public=False)


def file(rows=GOOD, name="rows.jsonl") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, "".join(json.dumps(row) + "\n" for row in rows).encode())


def test_a_file_is_checked_previewed_and_then_imported(client, project):
    sign_in(client, project, "researcher")
    address = reverse("imports", args=[project.slug])
    assert "Nothing has been imported yet" in client.get(address).content.decode()
    made = add_by_page(client, project, file([*GOOD, {"prompt": "?"}]), source="mine", checks=True)
    page = made.content.decode()
    assert "waits for the background worker" in page and "&lt;b&gt;Good&lt;/b&gt; 0." in page and "better" in page
    work_off_imports()
    found = Import.objects.get()
    address = reverse("import", args=[project.slug, found.pk])
    page = client.get(address).content.decode()
    assert "Nothing was added" in page and "comparisons to add" in page and "Import it" in page
    assert not Comparison.objects.exists() and found.problems.count() == 1
    client.post(reverse("import-go-on", args=[project.slug, found.pk]))
    work_off_imports()
    page = client.get(address).content.decode()
    assert f'<a href="{reverse("project", args=[project.slug])}">Next step' in page
    assert "Done on" in page and "comparisons added" in page and Comparison.objects.count() == 12
    response = client.get(reverse("import-problems", args=[project.slug, found.pk]))
    assert response["Content-Type"].startswith("text/csv") and response.content.decode().splitlines()[1].startswith(
        "13,"
    )


def test_prompts_without_answers_lead_to_a_model_and_not_to_an_empty_queue(client, project):
    sign_in(client, project, "researcher")
    add_by_page(client, project, SimpleUploadedFile("prompts.txt", b"What is a tide?\nWhy is the sky blue?\n"))
    work_off_imports()
    page = client.get(reverse("import", args=[project.slug, Import.objects.get().pk])).content.decode()
    assert f'<a role="button" href="{reverse("first-model", args=[project.slug])}">Add a model</a>' in page
    assert f'<a role="button" href="{reverse("annotate", args=[project.slug])}"' not in page
    assert "One text a row, in plain text" in page, "the format by its title"


def test_the_live_part_of_a_page_is_that_part_alone(client, project):
    sign_in(client, project, "researcher")
    add_by_page(client, project, file())
    part = client.get(reverse("import", args=[project.slug, Import.objects.get().pk]), HTTP_HX_REQUEST="true")
    text = part.content.decode().strip()
    assert text.startswith('<div id="import-progress"') and "every 1s" in text and "<html" not in text


def test_an_import_that_has_just_ended_shows_what_it_could_not_use(client, project):
    sign_in(client, project, "researcher")
    bad = [{"prompt": "?"}, {"prompt": "??"}, {"prompt": "?", "chosen": "a", "rejected": "a"}]
    add_by_page(client, project, file([*GOOD, *bad]))
    address = reverse("import", args=[project.slug, Import.objects.get().pk])
    assert "HX-Refresh" not in client.get(address, HTTP_HX_REQUEST="true")  # it is under way
    work_off_imports()
    assert client.get(address, HTTP_HX_REQUEST="true")["HX-Refresh"] == "true"
    page = client.get(address).content.decode()
    often, once = page.index("has no chosen"), page.index("The two answers are the same")
    assert often < once and "13; 14" in page and "hx-get" not in page.partition("</form>")[0].rpartition("<h1>")[2]


def test_how_long_it_will_take_is_told_whatever_clock_one_has():
    words = [time_left(seconds) for seconds in (0.2, 44, 89, 95, 3_600, 8_000)]
    assert words == [
        f"about {left} left" for left in ("5 seconds", "45 seconds", "90 seconds", "2 minutes", "60 minutes", "2 hours")
    ]


def test_what_is_wrong_stands_beside_the_form_which_keeps_what_was_typed(client, project):
    sign_in(client, project, "researcher")
    wrong = add_by_page(client, project, file(), source="arena")
    assert wrong.status_code == 400 and b'value="arena"' in wrong.content and b"source" in wrong.content
    empty = client.post(reverse("add-data", args=[project.slug]), {})
    assert empty.status_code == 400 and b"or choose a file" in empty.content and not Import.objects.exists()


@pytest.mark.parametrize("role", ["annotator", "reviewer"])
def test_who_may_not_import_sees_no_import(client, project, role):
    sign_in(client, project, role)
    assert client.get(reverse("imports", args=[project.slug])).status_code == 403
    assert client.get(reverse("add-data", args=[project.slug])).status_code == 403
    assert client.post(reverse("add-data", args=[project.slug]), {"text": "Why?"}).status_code == 403
    assert client.get(reverse("webhooks", args=[project.slug])).status_code == 403


def test_a_researcher_is_not_asked_about_ranks(client, project):
    sign_in(client, project, "researcher")
    assert b'name="link"' not in look_at(client, project, file()).content
    sign_in(client, project, "manager")
    assert b'name="link"' in look_at(client, project, file()).content


def send(program: Program, project, **fields):
    return program.http.post(f"{ROOT}imports/", {"project": project.slug, "file": file(), **fields}, format="multipart")


def test_an_import_by_the_api_from_queued_to_done(project):
    program = Program(make_user(project, role="researcher"))
    made = send(program, project, source="api")
    assert made.status_code == 201 and made.json()["state"] == "queued" and made.json()["format"].startswith("trl")
    work_off_imports()
    done = program.get(f"imports/{made.json()['id']}/").json()
    assert done["state"] == "done" and done["counts"]["comparisons"] == 12
    assert program.get("imports/", project=project.slug).json()["results"][0]["id"] == done["id"]
    again = send(program, project, source="api", dry_run="true").json()
    work_off_imports()
    assert program.get(f"imports/{again['id']}/").json()["counts"]["already"] == 12
    assert program.post(f"imports/{again['id']}/go-on/").json()["state"] == "queued"
    assert program.post(f"imports/{again['id']}/cancel/").json()["state"] == "cancelled"
    assert errors(program.post(f"imports/{again['id']}/cancel/"), 409)


def test_problems_by_the_api_and_wrong_fields(project):
    program = Program(make_user(project, role="researcher"))
    made = send(program, project, file=file([*GOOD, {"no": 1}]), format="trl-preference-text").json()
    work_off_imports()
    told = program.get(f"imports/{made['id']}/problems/")
    rows = [json.loads(line) for line in b"".join(told.streaming_content).splitlines()]
    assert rows[0]["line"] == 13 and rows[0]["reason"]
    assert "format" in errors(send(program, project, format="nonsense"))
    assert "columns" in errors(send(program, project, columns="what=ever"))
    assert errors(send(Program(make_user(project, role="reviewer")), project), 403)
    assert errors(send(Program(make_user(make_project(), role="manager")), project), 404)
    stranger = Program(make_user(make_project(), role="manager"))
    assert errors(stranger.get(f"imports/{made['id']}/"), 404)


def test_the_command_imports_tells_and_is_gone_on_with(project, tmp_path, capsys):
    researcher = make_user(project, role="researcher")
    path = tmp_path / "rows.jsonl"
    path.write_bytes(file([*GOOD, {"prompt": "?"}]).read())
    options = {"project": project.slug, "by": researcher.username}
    call_command("import_feedback", str(path), dry_run=True, **options)
    assert "12 comparisons" in capsys.readouterr().out and not Comparison.objects.exists()
    call_command("import_feedback", str(path), queue=True, **options)
    number = Import.objects.order_by("-id").first().pk
    call_command("import_feedback", go_on=number, by=researcher.username)
    out = capsys.readouterr().out
    assert Comparison.objects.count() == 12 and "line 13" in out
    with pytest.raises(CommandError, match="no project"):
        call_command("import_feedback", str(path), project="none", by=researcher.username)
    with pytest.raises(CommandError, match="source"):
        call_command("import_feedback", str(path), source="arena", **options)


@pytest.fixture
def private(settings):
    settings.PRIVATE_WEBHOOKS = ("127.0.0.1",)


def test_a_webhooks_life_on_its_pages(client, project, private):
    sign_in(client, project, "manager")
    address = reverse("webhooks", args=[project.slug])
    wrong = client.post(address, {"url": "ftp://x/", "events": ["run.finished"]})
    assert wrong.status_code == 400 and b"ftp://x/" in wrong.content
    page = client.post(address, {"url": "http://127.0.0.1:9/", "events": ["run.finished"]}, follow=True)
    hook = Webhook.objects.get()
    one = reverse("webhook", args=[project.slug, hook.pk])
    assert hook.secret in page.content.decode() and hook.events == ["run.finished"]
    assert "no-store" in client.get(one)["Cache-Control"]
    client.post(one, {"do": "test"})
    delivery = Delivery.objects.get()
    assert "webhook.test" in client.get(one).content.decode()
    client.post(reverse("webhook-again", args=[project.slug, hook.pk, delivery.pk]))
    client.post(one, {"do": "off"})
    assert "This webhook is off" in client.get(one).content.decode()
    client.post(one, {"do": "save", "url": "http://127.0.0.1:10/"})
    hook.refresh_from_db()
    assert not hook.is_active and hook.url.endswith(":10/") and hook.events == []
    client.post(one, {"do": "rotate"})
    assert client.post(one, {"do": "remove"}).headers["Location"] == address
    assert not Webhook.objects.exists()


def test_a_webhooks_life_by_the_api(project, private):
    program = Program(make_user(project, role="manager"))
    made = program.post("webhooks/", {"project": project.slug, "url": "http://127.0.0.1:9/"})
    number = made.json()["id"]
    assert made.status_code == 201 and made.json()["secret"].startswith("whsec_")
    assert "url" in errors(program.post("webhooks/", {"project": project.slug, "url": "http://127.0.0.1:9/"}), 409)
    assert "url" in errors(program.post("webhooks/", {"project": project.slug, "url": "nowhere"}))
    changed = program.http.patch(f"{ROOT}webhooks/{number}/", {"events": ["import.finished"]}, format="json")
    assert changed.json()["events"] == ["import.finished"]
    assert program.post(f"webhooks/{number}/rotate-secret/").json()["secret"] != made.json()["secret"]
    test = program.post(f"webhooks/{number}/test/").json()
    assert program.get(f"webhooks/{number}/deliveries/").json()["results"][0]["id"] == test["id"]
    assert program.post(f"webhooks/{number}/send-again/", {"delivery": test["id"]}).json()["state"] == "waiting"
    researcher = Program(make_user(project, role="researcher"))
    assert errors(researcher.get(f"webhooks/{number}/"), 404)
    assert researcher.get("webhooks/").json()["results"] == []
    assert errors(researcher.post("webhooks/", {"project": project.slug, "url": "http://127.0.0.1:9/x"}), 403)
    assert program.delete(f"webhooks/{number}/").status_code == 204
