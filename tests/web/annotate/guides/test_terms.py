"""Terms of the field on pages: each opens its definition at its first mention, and links to the guide."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest
from django.conf import settings
from django.template import RequestContext, Template
from django.test import RequestFactory
from django.urls import reverse

from annotate.guides.glossary import glossary, require_term
from tests.support.factories import make_project, sign_in
from training import configs
from training.configs.evaluate import MEASURES
from training.templatetags.option_words import KIND_TERMS, OPTION_TERMS

TAG = re.compile(r"{% (?:term|terms|definition) ((?:\"[^\"]*\" ?)+)")


def rendered(source: str, **values: object) -> str:
    return Template("{% load terms %}" + source).render(RequestContext(RequestFactory().get("/"), values))


def test_each_entry_of_the_glossary_is_a_title_and_a_few_plain_sentences():
    entries = list(glossary().values())
    assert len(entries) > 40
    for entry in entries:
        assert 20 < len(entry.definition) < 260 and entry.definition.endswith("."), entry
        assert "[" not in entry.definition and entry.key and entry.title, entry
    assert [entry.title.lower() for entry in entries] == sorted(entry.title.lower() for entry in entries)


def test_a_reference_to_a_guide_is_not_part_of_the_definition():
    assert require_term("lineage").definition.endswith("link by link.")
    assert "See" not in require_term("kl").definition


def test_a_term_that_nobody_has_defined_is_an_error_that_names_the_remedy():
    with pytest.raises(KeyError, match="no term 'klm': add a heading"):
        require_term("klm")


def test_every_term_that_a_template_names_is_defined():
    named = {
        (path.name, key)
        for path in (settings.BASE_DIR / "templates").rglob("*.html")
        for found in TAG.finditer(path.read_text())
        for key in _keys(found[0])
    }
    assert {"kl", "bradley-terry-rating"} & {key for _, key in named}
    assert [each for each in sorted(named) if each[1] not in glossary()] == []


def _keys(tag: str) -> list[str]:
    words = re.findall(r'"([^"]*)"', tag)
    return words if tag.startswith("{% terms") else words[:1]


def test_terms_of_runs_and_options_are_defined_and_name_what_there_is():
    keys = {key for group in KIND_TERMS.values() for key in group} | set(OPTION_TERMS.values())
    assert keys <= glossary().keys()
    assert KIND_TERMS.keys() <= configs.CONFIGS.keys() | MEASURES.keys()
    assert OPTION_TERMS.keys() <= {field.name for config in configs.CONFIGS.values() for field in fields(config)}


def test_a_term_is_a_button_for_its_definition_and_works_without_scripts():
    html = rendered('The {% term "kl" "KL" %} grows.', project=make_project_of_a_page())
    assert 'The <button type="button" class="term" popovertarget="term-kl">KL</button>' in html
    assert f'id="term-kl" popover>{require_term("kl").definition}' in html.replace("&#x27;", "'")
    assert f'href="{reverse("guide", args=["glossary"])}?project=tide#kl"' in html


def make_project_of_a_page() -> object:
    return type("Page", (), {"slug": "tide"})()


def test_the_second_mention_on_a_page_is_words_alone():
    html = rendered('{% term "kl" %}; {% term "kl" "kl" %}; {% definition "kl" %}; {% terms "kl" "beta" %}')
    assert html.count('id="term-kl"') == 1 and html.count("<button") == 2
    assert html.startswith("<button") and "; kl; ; " in html and ">Beta</button>" in html


def test_no_terms_make_no_line():
    assert rendered("{% terms %}") == "" == rendered("{% terms none %}", none=())


def test_words_cannot_bring_markup():
    assert "<b>" not in rendered('{% term "kl" words %}', words="<b>")


@pytest.mark.django_db
def test_pages_show_each_definition_once_and_the_glossary_has_its_place(client):
    project = make_project()
    sign_in(client, project, "manager")
    names = ("project-settings", "gold", "prompts", "data", "held-votes", "choose-kind", "decisions", "evaluations")
    for name in names:
        html = client.get(reverse(name, args=[project.slug])).content.decode()
        ids = re.findall(r'id="(term-[^"]*)"', html)
        assert ids and len(ids) == len(set(ids)), name
        for key in ids:
            assert html.count(f'popovertarget="{key}"') == 1, name
    guide = client.get(reverse("guide", args=["glossary"])).content.decode()
    assert all(f'id="{key}"' in guide for key in glossary())


@pytest.mark.django_db
def test_the_form_of_a_run_explains_its_options(client):
    project = make_project()
    sign_in(client, project, "researcher")
    html = client.get(reverse("new-run", args=[project.slug, "ppo"])).content.decode()
    assert {"term-ppo", "term-kl-coefficient", "term-lora"} <= set(re.findall(r'id="(term-[^"]*)"', html))
    for label in re.findall(r"<label\b.*?</label>", html, re.DOTALL):
        assert "term-" not in label  # a press on it would go to the field
