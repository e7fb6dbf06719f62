"""Label Studio's labelling XML and Argilla's settings propose a project's scales; a manager adds them by one click."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.urls import reverse

from annotate.labelling.scales.proposed_scales import propose
from annotate.models import Role
from tests.support import factories
from tests.support.api_client import Program

BROUGHT = Path(__file__).parents[3] / "support" / "annotate" / "brought"
XML = (BROUGHT / "label_studio.xml").read_text()
SETTINGS = (BROUGHT / "argilla_settings.json").read_text()


def told(text: str) -> list[tuple[str, str, str, bool]]:
    return [(one.kind, one.name, one.title, one.is_required) for one in propose(text).scales]


def test_labelling_xml_proposes_scales():
    proposal = propose(XML)
    assert told(XML) == [
        ("comparison", "better", "Which one is better?", False),
        ("aspect", "helpful", "How much does the answer help?", True),
        ("aspect", "harmless", "Harmless", False),
        ("span", "factual-error", "Factual error", False),
        ("span", "toxic", "Toxic", False),
    ]
    assert proposal.asks == ("asks_comparisons", "asks_ratings", "asks_answers")
    notes = " ".join(proposal.notes)
    assert "its values are 1 to 10" in notes and "choices with other values (warm, cold)" in notes
    assert "every item has a comment field" in notes and "exported files keep the name 'factual error'" in notes


def test_argillas_own_settings_propose_scales():
    proposal = propose(SETTINGS)
    assert told(SETTINGS) == [
        ("comparison", "better", "Better", True),
        ("aspect", "helpful", "How helpful?", True),
        ("stars", "stars", "Stars", False),
        ("ranking", "ranking", "Ranking", False),
        ("span", "error", "Error", False),
        ("span", "toxic", "Toxic", False),
    ]
    assert proposal.scales[1].definition == "Does it help?"
    assert proposal.asks == ("asks_comparisons", "asks_ratings", "asks_rankings", "asks_answers")
    notes = " ".join(proposal.notes)
    assert "its values are 0 to 3" in notes and "set the overlap to 2" in notes and "Guidelines" in notes


@pytest.mark.parametrize(
    ("xml", "scales"),
    [
        ('<Text name="t" value="$response"/><Text name="p" value="$prompt"/>'
         '<Choices name="ok" toName="t"><Choice value="Good"/><Choice value="Bad"/></Choices>', [("thumbs", "thumbs")]),
        ('<Text name="p" value="$prompt"/><List name="l" value="$items"/><Ranker name="rank" toName="l"/>',
         [("ranking", "ranking")]),
        ('<Text name="p" value="$prompt"/><Text name="a" value="$response_1"/><Text name="b" value="$response_2"/>'
         '<Choices name="best" toName="p"><Choice value="response_1"/><Choice value="response_2"/><Choice value="tie"/>'
         "</Choices>", [("comparison", "better")]),
        ('<Text name="t" value="$response"/><Rating name="rating" toName="t"/><Number name="quality" toName="t"/>',
         [("stars", "stars")]),
    ],
)  # fmt: skip
def test_templates_propose_what_their_annotations_are_read_as(xml, scales):
    assert [(one.kind, one.name) for one in propose(f"<View>{xml}</View>").scales] == scales


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "starts with <View>"),
        ("<View>", "not valid XML"),
        ("<View/>", "has no Rating"),
        ('<!DOCTYPE x [<!ENTITY a "b">]><View>&a;</View>', "DOCTYPE"),
        ("{}", "no questions"),
        ("{", "not valid JSON"),
        ("x" * 300_000, "longer than 200,000 characters"),
    ],
)
def test_what_is_no_interface_is_told(text, reason):
    with pytest.raises(ValueError, match=reason):
        propose(text)


@pytest.mark.django_db
@pytest.mark.parametrize("letter", ["é", "面"])
def test_a_file_in_any_language_may_have_as_many_characters_as_a_text(client, letter):
    project = factories.make_project()
    factories.sign_in(client, project, Role.MANAGER)
    for characters, words in ((150_000, "Add 5 scales"), (200_001, "longer than 200,000 characters")):
        file = SimpleUploadedFile("interface.xml", f"{XML}<!-- {letter * characters} -->".encode())
        page = client.post(reverse("scales", args=[project.slug]), {"do": "propose", "file": file}).content.decode()
        assert words in page


@pytest.mark.django_db
def test_a_manager_sees_first_and_adds_by_one_click(client):
    project = factories.make_project(asks_comparisons=False)
    factories.make_scale(project, "aspect", "helpful", title="Helpful to me")
    factories.sign_in(client, project, Role.MANAGER)
    file = SimpleUploadedFile("interface.xml", XML.encode())
    page = client.post(reverse("scales", args=[project.slug]), {"do": "propose", "file": file}).content.decode()
    assert (
        "Add 4 scales" in page
        and "here already as Helpful to me" in page
        and "does not ask for comparisons and written answers yet" in page
    )
    assert project.scales.count() == 1

    client.post(reverse("scales", args=[project.slug]), {"do": "take", "interface": XML})
    project.refresh_from_db()
    assert project.asks_comparisons
    assert project.scales.get(name="helpful").title == "Helpful to me"
    names = {"better", "helpful", "harmless", "factual-error", "toxic"}
    assert set(project.scales.values_list("name", flat=True)) == names
    client.post(reverse("scales", args=[project.slug]), {"do": "take", "interface": XML})
    assert project.scales.count() == 5

    page = client.post(
        reverse("scales", args=[project.slug]), {"do": "propose", "interface": "<View>"}
    ).content.decode()
    assert "This is not valid XML" in page and "Nothing was changed." in page


@pytest.mark.django_db
def test_a_program_and_a_command_do_the_same(tmp_path):
    project = factories.make_project()
    manager, annotator = (Program(factories.make_user(project, role=role)) for role in (Role.MANAGER, Role.ANNOTATOR))
    path = f"projects/{project.slug}/scales/propose/"
    assert annotator.post(path, {"interface": XML}).status_code == 403
    answer = manager.post(path, {"interface": XML})
    assert answer.status_code == 200 and len(answer.json()["new"]) == 5 and not project.scales.exists()

    file, out = tmp_path / "settings.json", io.StringIO()
    file.write_text(SETTINGS)
    call_command("propose_scales", str(file), project=project.slug, stdout=out)
    assert "new: aspect helpful, required" in out.getvalue() and "Nothing was changed" in out.getvalue()
    assert not project.scales.exists()
    call_command("propose_scales", str(file), project=project.slug, apply=True, stdout=out)
    assert project.scales.count() == 6

    answer = manager.post(path, {"interface": XML, "apply": True})
    assert answer.status_code == 201 and len(answer.json()["standing"]) == 3 and project.scales.count() == 8
    file.write_text("nothing")
    with pytest.raises(CommandError, match="starts with <View>"):
        call_command("propose_scales", str(file), project=project.slug)
