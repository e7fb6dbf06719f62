"""The quality page, an annotator's page and one's own, their files and their API: what they say, and to whom."""

import csv
import io
import re
from datetime import timedelta

import pytest
from django.db.models import F
from django.urls import reverse
from django.utils import timezone

from annotate.labelling.actions import set_status
from annotate.labelling.scales import actions as scales
from annotate.models import Assignment, Comparison, Rating, Span
from evaluation.annotator_quality import exclusion, explanations
from evaluation.annotator_quality.findings import findings, settled_at
from evaluation.annotator_quality.loading import rows_of
from tests.support.api_client import Program, errors
from tests.support.evaluation.annotating import annotate_all, compare, make_items, make_judges, rate
from tests.support.factories import make_comparison, make_scale, make_user

HONEST = ("anna", "bob", "cem", "dora", "emil", "finn")


@pytest.fixture
def manager(project):
    return make_user(project, role="manager", username="mia")


@pytest.fixture
def items(project):
    return make_items(project, 60)


@pytest.fixture
def honest(project, items):
    judges = make_judges(project, *HONEST)
    annotate_all(project, judges, items)
    return judges


@pytest.fixture
def zoe(project, items):
    """She always takes the first answer, at once."""
    zoe = make_user(project, username="zoe")
    for number, pair in enumerate(items):
        compare(zoe, pair, "better" if number % 2 else "worse", swapped=bool(number % 2), seconds=0.4)
    return zoe


def settle() -> None:
    """All that was said was said hours ago."""
    for table in (Comparison, Rating, Span):
        table.objects.update(created_at=F("created_at") - timedelta(hours=3))
    Assignment.objects.update(closed_at=timezone.now() - timedelta(hours=3))


def page(client, project, name="quality", *args, **query) -> str:
    response = client.get(reverse(name, args=[project.slug, *args]), query)
    assert response.status_code == 200
    return response.content.decode()


def test_agreement_of_each_scale_stands_on_the_page(client, project, honest, items, manager):
    for judge in honest[:3]:
        for number, (completion, _) in enumerate(items[:25]):
            rate(judge, completion, 1 + number % 5, thumbs=number % 2 == 0, aspects={"helpful": 1 + number % 3})
    client.force_login(manager)
    text = page(client, project)
    for scale in ("comparison", "thumbs", "stars", "helpful"):
        assert f'<th scope="row">{scale} ' in text
    assert text.count('<span class="tag">ordinal</span>') == 2


def test_who_takes_one_side_and_does_not_read_is_named_and_nobody_else(client, project, honest, zoe, manager):
    client.force_login(manager)
    text = page(client, project)
    look = text[text.index("To check</h2>") : text.index("Agreement</h2>")]
    assert "zoe" in look and "prefers one position" in look and "too fast to have read" in look
    assert not any(name in look for name in HONEST)


def test_nobody_is_named_among_honest_judges(client, project, honest, manager):
    client.force_login(manager)
    text = page(client, project)
    assert "To check</h2>" not in text and "No annotator differs clearly" in text


def test_swapped_sides_agree(project, manager, client):
    anna, bob = make_judges(project, "anna", "bob")
    for pair in make_items(project, 20):
        compare(anna, pair, "better")
        compare(bob, pair, "better", swapped=True)
    data = Program(manager).get(f"projects/{project.slug}/quality/").json()
    assert data["scales"][0]["raw"] == 1


def test_known_answers_repeats_imports_and_the_arena_are_no_part_of_agreement(project, manager):
    anna, bob = make_judges(project, "anna", "bob")
    pair, other, third, fourth = make_items(project, 4)
    first = compare(anna, pair, "better")
    compare(bob, pair, "better")
    compare(anna, pair, "worse", purpose="repeat", repeats=first, swapped=True)
    for judge in (anna, bob):
        compare(judge, other, "better", purpose="gold")
        make_comparison(*third, "model_a", judge, source="an import")
        make_comparison(*fourth, "model_a", judge, source="arena")
    scale = Program(manager).get(f"projects/{project.slug}/quality/").json()["scales"][0]
    assert (scale["units"], scale["judgements"]) == (1, 2)


def test_judges_whom_an_import_names_are_judges(project, manager):
    for pair in make_items(project, 12):
        for name in ("annotator1", "annotator2"):
            make_comparison(*pair, "model_a", manager, source="old tool", source_judge=name)
    data = Program(manager).get(f"projects/{project.slug}/quality/").json()
    assert [(j["name"], j["source"], j["user"]) for j in data["judges"]] == [
        ("annotator1", "old tool", None),
        ("annotator2", "old tool", None),
    ]
    assert "first" not in {m["name"] for m in data["judges"][0]["measures"]}, "nobody drew the sides of an import"


def test_what_does_not_count_is_left_out(project, honest, manager):
    Comparison.objects.filter(author=honest[0]).update(status="excluded")
    data = Program(manager).get(f"projects/{project.slug}/quality/").json()
    assert "anna" not in {judge["name"] for judge in data["judges"]}


def test_people_and_simulations_are_never_mixed(client, project, honest, items, manager):
    robots = make_judges(project, "robot-1", "robot-2", is_simulated=True)
    annotate_all(project, robots, items)
    client.force_login(manager)
    people, simulated = page(client, project), page(client, project, judge="simulation")
    assert "robot-1" not in people and "anna" in people
    assert "anna" not in simulated and "robot-1" in simulated
    assert client.get(reverse("quality", args=[project.slug]), {"judge": "ghost"}).status_code == 404


def test_the_table_sorts_by_any_column(client, project, honest, zoe, manager):
    client.force_login(manager)

    def order(sort: str) -> list[str]:
        text = page(client, project, sort=sort)
        table = text[text.index('<table class="judges">') :]
        return sorted([*HONEST, "zoe"], key=lambda name: table.index(f">{name}<"))

    assert order("name") == [*HONEST, "zoe"]
    assert order("-name") == ["zoe", *HONEST[::-1]]
    assert order("-first")[0] == "zoe" and order("seconds")[0] == "zoe"
    assert order("nonsense")[0] == "zoe", "whoever is worth a look comes first"


def test_the_matrix_has_every_two_judges(client, project, honest, manager):
    client.force_login(manager)
    text = page(client, project)
    matrix = text[text.index('<table class="matrix">') :]
    assert matrix.count("n 60") == 30


def test_files_have_what_the_page_has(client, project, honest, zoe, manager):
    client.force_login(manager)
    judges = list(csv.DictReader(io.StringIO(page(client, project, "quality-annotators-file", "csv"))))
    zoe_row = next(row for row in judges if row["judge"] == "zoe")
    assert zoe_row["flagged"] == "True" and float(zoe_row["first_value"]) == 1
    pairs = list(csv.DictReader(io.StringIO(page(client, project, "quality-pairs-file", "csv"))))
    assert len(pairs) == 21 and float(pairs[0]["lower"]) < float(pairs[0]["share"])
    assert client.get(reverse("quality-annotators-file", args=[project.slug, "json"])).json()["judges"]


def test_a_judges_page_says_it_in_words(client, project, honest, zoe, manager):
    client.force_login(manager)
    text = page(client, project, "quality-annotator", zoe.pk)
    assert "zoe takes the first answer in 100 % [94, 100] of the comparisons with a winner (60 of 60)" in text
    assert "more than chance explains (p below 0.001" in text
    assert "Exclude zoe" in text


def test_a_page_of_ones_own_names_nobody_else(client, project, honest, zoe):
    settle()
    client.force_login(zoe)
    text = page(client, project, "quality-mine")
    assert "You take the first answer in 100 %" in text and "6 other annotators" in text
    assert not re.search(rf"\b({'|'.join(HONEST)})\b", text)  # as words: December holds "cem"
    assert "to check</" not in text.lower() and "Exclude" not in text


def test_ones_own_figures_do_not_tell_which_items_answer_is_known(client, project, honest, items, monkeypatch):
    """Whoever looks after each item and sees which figures moved would know it, and take a wrong answer back."""
    anna = honest[0]
    settle()
    client.force_login(anna)

    def seen() -> tuple[str, dict]:
        body = Program(anna).get(f"projects/{project.slug}/quality/mine/").json()
        text = page(client, project, "quality-mine")
        return text[text.index("<h1>") :], body

    before = seen()
    known = compare(anna, make_items(project, 1)[0], "worse", purpose="gold", gold_passed=False)
    assert seen() == before
    Assignment.objects.filter(pk=known.pk).update(gold_passed=True)  # as if taken back and answered rightly
    assert seen() == before
    compare(anna, items[0], "worse", purpose="repeat", repeats=anna.assignments.first(), swapped=True)
    assert seen() == before
    settle()
    later = settled_at(project) + timedelta(hours=1)
    monkeypatch.setattr("evaluation.annotator_quality.findings.settled_at", lambda project: later)
    names = {measure["name"] for measure in seen()[1]["measures"]}
    assert {"gold", "itself"} <= names - {measure["name"] for measure in before[1]["measures"]}


def test_ones_own_figures_are_as_of_a_full_hour_before_which_nothing_can_be_changed(project):
    project.edit_minutes = 45
    moment = settled_at(project)
    ago = timezone.now() - moment
    assert (moment.minute, moment.second) == (0, 0) and timedelta(minutes=45) <= ago < timedelta(minutes=105)


def test_gold_answers_and_consistency_are_told(client, project, manager):
    anna, bob = make_judges(project, "anna", "bob")
    for number, pair in enumerate(make_items(project, 10)):
        for judge, right in ((anna, True), (bob, number < 5)):
            compare(judge, pair, "better" if right else "worse", purpose="gold", gold_passed=right)
    for number, pair in enumerate(make_items(project, 10)):
        first = compare(anna, pair, "better")
        compare(anna, pair, "better" if number else "worse", purpose="repeat", repeats=first, swapped=True)
    client.force_login(manager)
    text = page(client, project, "quality-annotator", anna.pk)
    assert "anna gives the known answer in 100 %" in text and "the others in 50 %" in text
    assert "the same in 90 %" in text and "(9 of 10)" in text


def test_severity_is_told_in_steps(client, project, manager):
    anna, bob, cem = make_judges(project, "anna", "bob", "cem")
    for number, (completion, _) in enumerate(make_items(project, 30)):
        for judge, shift in ((anna, -1), (bob, 0), (cem, 0)):
            rate(judge, completion, 2 + number % 4 + shift)
    client.force_login(manager)
    assert "anna gives 1.00 steps of five less than the others" in page(client, project, "quality-annotator", anna.pk)


@pytest.fixture
def marked(project, items):
    """Anna and Bob mark the same words in 30 answers, and Cem, who has read them all, nothing but one."""
    make_scale(project, "span", "untrue")
    make_scale(project, "span", "rude")
    anna, bob, cem = make_judges(project, "anna", "bob", "cem")
    for number, (_, completion) in enumerate(items[:30]):
        for judge, end in ((anna, 7), (bob, 7 if number % 2 else 9), (cem, 7 if not number else 0)):
            assignment = rate(judge, completion, 3)
            if end:
                mark(assignment, 4, end, "untrue")
    return anna, bob, cem


def mark(assignment, start: int, end: int, label: str, **fields):
    completion = assignment.completion_a
    common = {"project": assignment.project, "prompt": assignment.prompt, "judge": "person", "author": assignment.user}
    text = completion.text[start:end]
    told = {"start": start, "end": end, "label": label, "text": text, "assignment": assignment, **fields}
    return Span.objects.create(completion=completion, **common, **told)


def test_agreement_on_marked_spans_stands_on_the_page_and_in_the_api(client, project, marked, manager):
    client.force_login(manager)
    text = page(client, project)
    table = text[text.index("Agreement on marked spans") : text.index('<h2 id="judges">')]
    assert '<th scope="row">untrue</th>' in table and "rude" not in table, "nobody used it"
    data = Program(manager).get(f"projects/{project.slug}/quality/").json()
    (label,) = data["marks"]
    # Of each answer 3 + 3 characters, or 3 + 5, and Cem's in the first; two spans overlap, three pairs with 4 spans.
    assert (label["answers"], label["answers_marked"], label["spans"], label["judges"]) == (30, 30, 61, 3)
    assert label["overlapping"] == pytest.approx(2 * (30 + 2) / (2 * 61), abs=1e-5)
    assert label["exact"] == pytest.approx(2 * (15 + 1) / (2 * 61), abs=1e-5)
    assert label["exact_lower"] < label["exact"] < label["exact_upper"]
    assert 0 < label["alpha_lower"] < label["alpha"] < label["alpha_upper"] < 1
    pairs = Program(manager).get(f"projects/{project.slug}/quality/pairs/").json()["mark_pairs"]
    assert [(p["judge"], p["other"], p["n"]) for p in pairs] == [
        ("anna", "bob", 30),
        ("anna", "cem", 30),
        ("bob", "cem", 30),
    ]
    assert pairs[0]["overlapping"] == 1
    assert "F1 of overlapping spans with the same label" in page(client, project, scale="marked spans")


def test_a_judges_marks_are_set_beside_the_others(client, project, marked, manager):
    anna, _, cem = marked
    client.force_login(manager)
    text = page(client, project, "quality-annotator", cem.pk)
    assert "Of cem’s marked spans and the others’ in the same answers, 6 %" in text
    assert "(F1, over 30 answers marked by either); among the others, 100 %." in text
    settle()
    client.force_login(cem)
    own = page(client, project, "quality-mine")
    assert "Of your marked spans" in own and "anna" not in own and "bob" not in own
    judged = {m["name"]: m for m in Program(anna).get(f"projects/{project.slug}/quality/mine/").json()["measures"]}
    assert judged["marks"]["lower"] < judged["marks"]["value"] < judged["marks"]["upper"]


def test_a_label_that_came_later_was_not_left_unmarked_before(project, items, manager):
    anna, bob = make_judges(project, "anna", "bob")
    for _, completion in items[:3]:
        rate(anna, completion, 3)
    scales.add(project=project, by=manager, kind="span", name="untrue")
    for _, completion in items[:3]:
        mark(rate(bob, completion, 3), 0, 2, "untrue")
    mark(rate(anna, items[4][1], 3), 0, 2, "untrue")
    rate(bob, items[4][1], 3)
    (label,) = Program(manager).get(f"projects/{project.slug}/quality/").json()["marks"]
    assert (label["answers"], label["answers_marked"]) == (1, 1)


def test_what_was_marked_of_known_answers_and_what_does_not_count_is_left_out(project, marked, items, manager):
    anna = marked[0]
    before = Program(manager).get(f"projects/{project.slug}/quality/").json()["marks"]
    known = rate(anna, items[40][1], 3)
    known.purpose = "gold"
    known.save()
    mark(known, 0, 2, "untrue")
    mark(rate(anna, items[41][1], 3), 0, 2, "untrue", status="excluded")
    assert Program(manager).get(f"projects/{project.slug}/quality/").json()["marks"] == before


def test_marks_of_an_import_count_by_the_judges_of_its_file(project, items, manager):
    completion = items[0][1]
    common = {"project": project, "prompt": completion.prompt, "judge": "person", "author": manager, "text": "No"}
    for name, source in (("eva", "old tool"), ("leo", "old tool"), ("eva", "another tool")):
        told = {"start": 0, "end": 2, "label": "untrue", "source": source, "source_judge": name}
        Span.objects.create(completion=completion, **common, **told)
    data = Program(manager).get(f"projects/{project.slug}/quality/").json()
    assert {(j["name"], j["source"]) for j in data["judges"]} == {
        ("eva", "old tool"),
        ("leo", "old tool"),
        ("eva", "another tool"),
    }
    assert (data["marks"][0]["judges"], data["marks"][0]["exact"]) == (3, 1)


def test_nobody_has_judged_yet(client, project, manager):
    client.force_login(manager)
    assert "Nobody has annotated here yet" in page(client, project)
    assert "You had no annotations that count up to" in page(client, project, "quality-mine")
    assert page(client, project, "quality-annotators-file", "csv").count("\n") == 1
    assert Program(manager).get(f"projects/{project.slug}/quality/").json()["judges"] == []


def test_who_is_excluded_is_said_and_not_counted(client, project, honest, zoe, manager):
    exclusion.exclude(project=project, person=zoe, reason="does not read", by=manager)
    client.force_login(manager)
    text = page(client, project)
    assert "To check</h2>" not in text and "because their annotations do not count" in text
    assert "does not read" in page(client, project, "quality-annotator", zoe.pk)


def test_who_goes_on_after_an_exclusion_is_in_the_tables(client, project, honest, items, zoe, manager):
    exclusion.exclude(project=project, person=zoe, reason="a bot", by=manager, pauses=False)
    client.force_login(manager)
    assert "Not in the tables" in page(client, project)
    compare(zoe, make_items(project, 1)[0], "better")
    text = page(client, project)
    assert "Not in the tables" not in text and "zoe" in text
    assert "All annotations here were excluded" in page(client, project, "quality-annotator", zoe.pk)


def test_pages_of_others_are_for_reviewers(client, project, honest):
    addresses = [
        reverse("quality", args=[project.slug]),
        reverse("quality-annotator", args=[project.slug, honest[1].pk]),
        reverse("quality-annotators-file", args=[project.slug, "csv"]),
        reverse("quality-pairs-file", args=[project.slug, "json"]),
    ]
    assert {client.get(address).status_code for address in addresses} == {302}, "a visitor signs in first"
    client.force_login(honest[0])
    assert {client.get(address).status_code for address in addresses} == {403}
    client.force_login(make_user(project, role="reviewer"))
    assert {client.get(address).status_code for address in addresses} == {200}


def test_a_reviewer_is_offered_no_exclusion(client, project, honest):
    client.force_login(make_user(project, role="reviewer"))
    assert "Exclude" not in page(client, project, "quality-annotator", honest[0].pk)


def test_somebody_who_never_judged_here_has_no_page(client, project, manager):
    client.force_login(manager)
    assert client.get(reverse("quality-annotator", args=[project.slug, make_user().pk])).status_code == 404


def test_the_api_says_what_the_page_says_and_to_the_same_people(project, honest, zoe, manager):
    address = f"projects/{project.slug}/quality/"
    data = Program(manager).get(address).json()
    assert [judge["name"] for judge in data["judges"] if judge["flagged"]] == ["zoe"]
    one = Program(manager).get(f"{address}judges/{zoe.pk}/").json()
    assert next(m for m in one["measures"] if m["name"] == "first")["in_words"].startswith("zoe takes the first answer")
    settle()
    own = Program(zoe).get(f"{address}mine/").json()
    assert own["flagged"] is False and "Where you choose" in own["measures"][0]["in_words"]
    assert len(Program(manager).get(f"{address}pairs/").json()["pairs"]) == 21
    for path in (address, f"{address}pairs/", f"{address}judges/{zoe.pk}/"):
        errors(Program(zoe).get(path), 403)
    errors(Program(manager).get(address, judge="ghost"), 400)
    errors(Program(manager).get(f"{address}judges/nobody/"), 404)
    errors(Program(make_user(project)).get(f"{address}mine/"), 404)


def test_nothing_is_read_twice_while_nothing_changes(client, project, honest, manager, django_assert_max_num_queries):
    client.force_login(manager)
    page(client, project)
    with django_assert_max_num_queries(20):
        page(client, project)
    compare(honest[0], make_items(project, 1)[0], "better")
    judges = page(client, project, "quality-annotators-file", "csv")
    assert next(row for row in csv.DictReader(io.StringIO(judges)) if row["judge"] == "anna")["comparisons"] == "61"


def test_nobody_is_called_by_a_name_that_an_account_no_longer_has(client, project, honest, manager):
    client.force_login(manager)
    assert honest[0].username in page(client, project)
    type(honest[0]).objects.filter(pk=honest[0].pk).update(username="erased-1")
    assert honest[0].username not in page(client, project) and "erased-1" in page(client, project)


def test_what_is_new_is_taken_in_without_reading_the_rest_again(project, honest, items):
    before = rows_of(project, "person")
    compare(honest[0], make_items(project, 1)[0], "better")
    after = rows_of(project, "person")
    assert after.compared[:-1] == before.compared and after.compared[0] is before.compared[0]
    assert len(before.compared) == len(after.compared) - 1, "what was given out before is not changed"


def test_a_row_that_comes_late_or_changes_its_status_is_not_missed(project, honest, manager):
    first = rows_of(project, "person").compared[0]
    row = Comparison.objects.get(pk=first.row.id)
    set_status(rows=[row], status="held", reason="too fast", by=manager)
    assert first not in rows_of(project, "person").compared
    Comparison.objects.filter(pk=row.pk).update(status="counted")  # as if it had been committed only now
    found = rows_of(project, "person").compared
    assert found[0] == first and len(found) == 360


def test_a_figure_without_an_interval_leaves_no_gap(project, items):
    judge = make_user(project, username="nia")
    for pair in items[:2]:
        compare(judge, pair, "better", seconds=20.0)
    (found,) = findings(project, "person").judges
    texts = [sentence.text for sentence in explanations.sentences(found)]
    assert texts and not any("  " in text or " ," in text for text in texts)
