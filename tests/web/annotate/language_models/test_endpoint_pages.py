"""The pages of a model behind an endpoint: registered, changed, asked one question; and nowhere its key."""

from __future__ import annotations

from decimal import Decimal

import pytest
from django.contrib.sessions.models import Session

from annotate.language_models import model_form, model_keys
from annotate.language_models.actions import register_model
from annotate.models import Contestant, LanguageModel
from tests.support.annotate.keyed_api import keyed_api
from tests.support.factories import make_project, make_user

pytestmark = pytest.mark.django_db
KEY = "sk-secret-of-a-laboratory"
HERE = "http://127.0.0.1:9/v1"


@pytest.fixture
def researcher(client, project):
    client.force_login(make_user(project, role="researcher"))
    return client


def new(project) -> str:
    return f"/p/{project.slug}/models/new/"


def sent(**fields):
    return {"name": "theirs", "endpoint": HERE, "served_name": "small", "key": KEY, **fields}


def test_a_researcher_registers_a_model_behind_an_endpoint(researcher, project):
    assert 'name="served_name"' in researcher.get(new(project)).content.decode()
    options = {"temperature": "0,5", "template_options": "enable_thinking = false", "concurrency": "8",
               "prompt_price": "2.5", "enter": "on"}  # fmt: skip
    answer = researcher.post(new(project), sent(**options))
    model = LanguageModel.objects.get()
    assert answer.status_code == 302 and answer.url == f"/models/{model.pk}/"
    assert (model.project, model.is_shared, model.temperature, model.concurrency) == (project, False, 0.5, 8)
    assert model.template_options == {"enable_thinking": False} and model_keys.key_of(model) == KEY
    assert Contestant.objects.get().model == model
    for path in (f"/models/{model.pk}/", f"/models/{model.pk}/settings/", f"/p/{project.slug}/models/"):
        page = researcher.get(path)
        assert page.status_code == 200 and KEY.encode() not in page.content
        assert model.sealed_key.encode() not in page.content
    assert "with a key" in researcher.get(f"/models/{model.pk}/").content.decode()


def test_weights_and_an_endpoint_are_one_model(researcher, project, data_folder):
    (data_folder / "models" / "ours").mkdir()
    assert researcher.post(new(project), sent(folder="models/ours")).status_code == 302
    page = researcher.get(f"/models/{LanguageModel.objects.get().pk}/").content.decode()
    assert "models/ours" in page and HERE in page and "Measure" in page


def test_what_is_wrong_stands_at_its_field_and_nothing_is_registered(researcher, project):
    wrong = sent(served_name="", concurrency="many")
    page = researcher.post(new(project), wrong)
    text = page.content.decode()
    assert page.status_code == 400 and 'id="concurrency-error"' in text and KEY not in text
    page = researcher.post(new(project), sent(served_name="", temperature="7"))
    assert 'id="temperature-error"' in page.content.decode()
    page = researcher.post(new(project), sent(served_name=""))
    assert 'id="served_name-error"' in page.content.decode() and HERE in page.content.decode()
    assert 'id="folder-error"' in researcher.post(new(project), {"name": "x"}).content.decode()
    assert not LanguageModel.objects.exists()


def test_a_comma_that_can_be_read_in_two_ways_is_refused_and_one_that_cannot_is_a_point(researcher, project):
    for field, typed in (("prompt_price", "1,000"), ("completion_price", "1,000.5"), ("max_new_tokens", "1,024")):
        refused = researcher.post(new(project), sent(**{field: typed}))
        remedy = f"write {typed.replace(',', '')} without a comma"
        assert refused.status_code == 400 and remedy in refused.content.decode()
    assert researcher.post(new(project), sent(prompt_price="0,075")).status_code == 302
    assert LanguageModel.objects.get().prompt_price == Decimal("0.075")


def test_addresses_go_through_the_operators_rules(researcher, project, settings):
    settings.PRIVATE_ENDPOINTS = ()
    page = researcher.post(new(project), sent(endpoint="http://10.0.0.7/v1")).content.decode()
    assert 'id="endpoint-error"' in page and "add 10.0.0.7 to ASSAY_PRIVATE_ENDPOINTS" in page


@pytest.mark.parametrize("host", ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]"])
def test_no_remedy_is_offered_for_the_address_of_a_clouds_metadata(researcher, project, settings, host):
    settings.PRIVATE_ENDPOINTS = ()
    page = researcher.post(new(project), sent(endpoint=f"http://{host}/v1")).content.decode()
    assert "is a link-local address" in page and "ASSAY_PRIVATE_ENDPOINTS" not in page


def test_who_only_judges_registers_and_asks_nothing(client, project):
    model = register_model(name="theirs", endpoint=HERE, served_name="small", project=project)
    client.force_login(make_user(project))
    assert client.get(new(project)).status_code == 403
    for page in ("settings", "ask"):
        assert client.post(f"/models/{model.pk}/{page}/", {}).status_code in (403, 404)
    stranger = make_user(make_project(), role="researcher")
    client.force_login(stranger)
    for page in ("settings", "ask"):
        assert client.post(f"/models/{model.pk}/{page}/", {}).status_code in (403, 404)


def test_settings_are_changed_and_a_key_is_kept_until_its_address_changes(researcher, project):
    researcher.post(new(project), sent())
    path = f"/models/{LanguageModel.objects.get().pk}/settings/"
    same = sent(key="", temperature="0.2", concurrency="3")
    assert researcher.post(path, same).status_code == 302
    model = LanguageModel.objects.get()
    assert model.temperature == 0.2 and model_keys.key_of(model) == KEY
    moved = researcher.post(path, same | {"endpoint": "http://127.0.0.1:10/v1"}, follow=True)
    assert "The key was deleted" in moved.content.decode() and not LanguageModel.objects.get().sealed_key
    researcher.post(path, same | {"key": "another"})
    assert model_keys.key_of(LanguageModel.objects.get()) == "another"
    researcher.post(path, same | {"forget_key": "on"})
    assert not LanguageModel.objects.get().sealed_key
    assert 'id="endpoint-error"' in researcher.post(path, same | {"endpoint": ""}).content.decode()


def test_one_question_is_answered_on_a_page_or_in_a_part_of_it(researcher, project):
    with keyed_api() as api:
        model = register_model(name="theirs", endpoint=api.url, served_name="small", key=api.key, project=project)
        page = researcher.post(f"/models/{model.pk}/ask/", {"question": "Well?"}).content.decode()
        assert "the model answers" in page and "Answer to Well?" in page and "<html" in page
        part = researcher.post(f"/models/{model.pk}/ask/", {}, headers={"HX-Request": "true"}).content.decode()
        assert 'id="checked"' in part and "<html" not in part
        LanguageModel.objects.update(served_name="smal")
        page = researcher.post(f"/models/{model.pk}/ask/", {}).content.decode()
        assert "knows no model of this name" in page and "<code>large</code>" in page and "Change it" in page


def test_what_a_server_lists_is_shown_as_text(researcher, project):
    with keyed_api(models=("<script>alert(1)</script>",)) as api:
        model = register_model(name="theirs", endpoint=api.url, served_name="x", key=api.key, project=project)
        assert "<script>alert" not in researcher.post(f"/models/{model.pk}/ask/", {}).content.decode()


def test_the_form_shows_numbers_as_they_were_typed():
    model = LanguageModel(prompt_price="2.500000", temperature=0.5, template_options={"a": "b"})
    model.prompt_price = model_form.Decimal("2.500000")
    shown = model_form.context(model)
    assert [field.value for field in shown["limits"]] == ["16", "2.5", ""]
    assert shown["sampling"][0].value == "0.5" and shown["values"]["template_options"] == 'a = "b"'


def test_a_key_is_typed_once_though_another_field_was_wrong(researcher, project):
    wrong = researcher.post(new(project), sent(name=""))
    page = wrong.content.decode()
    assert wrong.status_code == 400 and "kept for this address" in page and KEY not in page
    assert KEY not in str(Session.objects.get().get_decoded())
    elsewhere = researcher.post(new(project), sent(key="", endpoint="http://127.0.0.1:10/v1", name="other"))
    assert elsewhere.status_code == 302 and model_keys.key_of(LanguageModel.objects.get()) == ""
    researcher.post(new(project), sent(name=""))
    assert researcher.post(new(project), sent(key="")).status_code == 302
    assert model_keys.key_of(LanguageModel.objects.get(name="theirs")) == KEY
    assert "typed-key" not in researcher.session
