"""A judge that is asked again by one version of its rubric: whether the model behind it has changed."""

from __future__ import annotations

import random

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from annotate.models import Project, Prompt
from evaluation.core import stored_values
from evaluation.core.number_formats import whole
from evaluation.core.recent_values import Recent
from evaluation.judge_models import judge_figures
from evaluation.judge_models.judge_figures import cost_of, figures_of
from evaluation.judge_models.verdict_items import rows
from evaluation.models import RepeatedVerdict, Rubric, Verdict
from tests.support.api_client import Program
from tests.support.evaluation.judges import make_judge, make_verdict
from tests.support.factories import make_comparison, make_completion, make_prompt, make_user, sign_in
from tests.support.training.runs import make_run
from training.models import Run

pytestmark = pytest.mark.django_db
PAIRS, PEOPLE = 120, 12
TURNED = {"model_a": "model_b", "model_b": "model_a"}


@pytest.fixture(autouse=True)
def _fresh(monkeypatch) -> None:
    """Let no test find what another has kept of rows with the same ids."""
    monkeypatch.setattr(judge_figures, "_recent", Recent(32))


@pytest.fixture
def rubric(project) -> Rubric:
    return make_judge(project)


@pytest.fixture
def voted(project, base, child, rubric) -> list[tuple[Verdict, str]]:
    """Pairs with a person's vote each, with which the judge's verdict agrees in four of five."""
    lot, people = random.Random(3), [make_user() for _ in range(PEOPLE)]
    found = []
    for n in range(PAIRS):
        prompt = make_prompt(project, side="eval")
        a, b = make_completion(prompt, "one", model=base), make_completion(prompt, "another", model=child)
        winner = lot.choice(["model_a", "model_b"])
        make_comparison(a, b, winner, people[n % PEOPLE])
        found.append((make_verdict(rubric, a, b, said(lot, winner, 0.8)), winner))
    return found


def said(lot: random.Random, winner: str, agrees: float) -> str:
    return winner if lot.random() < agrees else TURNED[winner]


def asked(project: Project) -> Run:
    return make_run(project, kind="verdicts", state="succeeded")


def repeat(run: Run, verdict: Verdict, a_first: str, b_first: str = "", **fields) -> None:
    b_first = b_first or a_first
    winner = a_first if a_first == b_first else "tie"
    RepeatedVerdict.objects.create(run=run, verdict=verdict, winner=winner, a_first=a_first, b_first=b_first, **fields)


def test_of_a_judge_that_stays_as_it_was_nothing_is_said(project, rubric, voted, client):
    lot, run = random.Random(5), asked(project)
    for verdict, winner in voted:
        repeat(run, verdict, said(lot, winner, 0.8))
    (found,) = figures_of(rubric, "person").repeated
    assert found.run == run.pk and 0.5 < found.same.value < 0.85 and found.same.n == PAIRS
    assert found.agreement_gained.lower < 0 < found.agreement_gained.upper and not found.has_changed
    sign_in(client, project, "researcher")
    page = client.get(reverse("judge-model", args=[project.slug, rubric.judge_id])).content.decode()
    assert "Asked again" in page and "may be chance</span>" in page and "probably changed" not in page


def test_a_judge_whose_vendor_put_another_model_in_its_place_is_found(project, rubric, voted, client):
    lot, run = random.Random(5), asked(project)
    for verdict, winner in voted:
        repeat(run, verdict, said(lot, winner, 0.4))
    (found,) = figures_of(rubric, "person").repeated
    assert found.agreement_gained.upper < 0 and found.agreement_gained.n == PAIRS and found.has_changed
    sign_in(client, project, "researcher")
    page = client.get(reverse("judge-model", args=[project.slug, rubric.judge_id])).content.decode()
    assert "has probably changed" in page and "probably changed</span>" in page
    fewer = whole(100 * found.agreement_gained.value)
    assert fewer.startswith("−") and f"<b>{fewer}</b>" in page, "in points of a hundred, with its sign"
    told = Program(make_user(project, role="reviewer")).get(f"projects/{project.slug}/judge-models/{rubric.judge_id}/")
    (again,) = told.json()["figures"]["asked_again"]
    assert again["run"] == run.pk and again["has_changed"] and again["agreement_gained"]["upper"] < 0


def test_without_votes_its_consistency_tells_and_what_counts_stays(project, rubric, voted):
    before = figures_of(rubric, "simulation")
    run = asked(project)
    for n, (verdict, _) in enumerate(voted):
        repeat(run, verdict, verdict.winner, TURNED[verdict.winner] if n % 4 == 0 else "")
    after = figures_of(rubric, "simulation")
    (found,) = after.repeated
    assert found.agreement_gained is None and found.consistency_gained.value == -0.25 and found.has_changed
    assert (after.pairs, after.consistency, after.first_shown) == (before.pairs, before.consistency, before.first_shown)


def test_where_nothing_can_be_tested_no_chance_is_spoken_of(project, rubric, voted, client):
    run = asked(project)
    for verdict, _ in voted[:1]:
        repeat(run, verdict, verdict.winner)
    sign_in(client, project, "researcher")
    page = client.get(reverse("judge-model", args=[project.slug, rubric.judge_id])).content.decode()
    assert "Asked again" in page and "may be chance</span>" not in page


def test_each_run_has_a_line_the_newest_first_and_its_cost_is_counted(project, rubric, voted):
    Verdict.objects.update(prompt_tokens=100, completion_tokens=10, seconds=1.0)
    older, newer = asked(project), asked(project)
    for run in (older, newer):
        for verdict, _ in voted[:20]:
            repeat(run, verdict, verdict.winner, prompt_tokens=200, completion_tokens=20, seconds=2.0)
    assert [one.run for one in figures_of(rubric, "person").repeated] == [newer.pk, older.pk]
    cost = cost_of(rubric)
    assert (cost.verdicts, cost.prompt_tokens, cost.seconds) == (PAIRS + 40, 100 * PAIRS + 40 * 200, PAIRS + 80.0)
    RepeatedVerdict.objects.filter(run=newer).update(prompt_tokens=None)
    assert cost_of(rubric).prompt_tokens is None


def test_pairs_that_people_voted_on_are_asked_first_and_others_for_the_rest(project, rubric, voted, base, child):
    for _ in range(30):
        prompt = make_prompt(project, side="eval")
        make_verdict(rubric, make_completion(prompt, model=base), make_completion(prompt, model=child), "model_a")
    config = {"judge": "the judge", "version": 0, "items": "asked", "annotators": "people", "split": "eval"}

    def chosen(limit: int) -> set[int]:
        run = Run(pk=77, project=project, kind="verdicts", config=config | {"limit": limit})
        return {item["verdict_id"] for item in rows(run)["items"]}

    with_votes = {verdict.pk for verdict, _ in voted}
    assert len(chosen(50)) == 50 and chosen(50) < with_votes < chosen(PAIRS + 10)
    Prompt.objects.filter(pk=voted[0][0].prompt_id).update(source="arena")
    assert voted[0][0].pk not in chosen(1000) and len(chosen(1000)) == PAIRS + 29


def test_kept_figures_have_it_too(project, rubric, voted):
    run = asked(project)
    for verdict, _ in voted:
        repeat(run, verdict, verdict.winner)
    _, found = judge_figures.compute_kept(project, "person", lambda *_: None)
    read = stored_values.read(stored_values.written(found), judge_figures._STORED)
    assert read[rubric.pk].repeated == found[rubric.pk].repeated and read[rubric.pk].repeated[0].run == run.pk


def test_replies_heard_again_stand_below_the_first_ones(project, rubric, voted, client):
    run, (same, _), (changed, _) = asked(project), voted[0], voted[1]
    other = TURNED[changed.winner]
    repeat(run, same, same.winner, reasons=["Still so, by the first.", "Still so, by the second."])
    repeat(run, changed, other, reasons=["Now I think otherwise.", "So do I."])
    sign_in(client, project, "researcher")
    address = reverse("judge-verdicts", args=[project.slug, rubric.judge_id])

    def shown(only: str) -> str:
        return client.get(f"{address}?only={only}").content.decode()

    again = shown("again")
    assert again.count('class="judged-pair"') == 2 and "Still so, by the second." in again
    assert again.count(f'href="/runs/{run.pk}/"') == 2 and again.count("Another verdict than before") == 1
    only_changed = shown("changed")
    assert only_changed.count('class="judged-pair"') == 1
    assert "Now I think otherwise." in only_changed and "Still so" not in only_changed
    page = client.get(reverse("judge-model", args=[project.slug, rubric.judge_id])).content.decode()
    assert f'href="{address}?version=1&amp;only=changed"' in page, "the page of the judge leads there"
    rows = Program(make_user(project, role="reviewer")).get(
        f"projects/{project.slug}/judge-models/{rubric.judge_id}/verdicts/?page_size=500"
    )
    by_id = {row["id"]: row["repeats"] for row in rows.json()["results"]}
    assert [(one["run"], one["winner"]) for one in by_id[changed.pk]] == [(run.pk, other)] and not by_id[voted[2][0].pk]


def test_a_grade_that_differs_from_the_first_is_found(project, base, client):
    rubric, run = make_judge(project, "grader", form="scale"), asked(project)
    for first, later in ((7, 7), (8, 3)):
        answer = make_completion(make_prompt(project, side="eval"), model=base)
        verdict = Verdict.objects.create(rubric=rubric, prompt=answer.prompt, completion_a=answer, grade=first)
        RepeatedVerdict.objects.create(run=run, verdict=verdict, grade=later, reasons=[f"I give it {later}."])
    sign_in(client, project, "researcher")
    page = client.get(reverse("judge-verdicts", args=[project.slug, rubric.judge_id]) + "?only=changed")
    assert "I give it 3." in page.content.decode() and "I give it 7." not in page.content.decode()


def test_a_judge_of_answers_that_nobody_compared_is_not_said_to_have_judged_nothing(project, base, child, client):
    rubric, prompt = make_judge(project, "grader", form="scale"), make_prompt(project, side="eval")
    address = reverse("judge-model", args=[project.slug, rubric.judge_id])
    sign_in(client, project, "researcher")
    assert "has judged nothing yet" in client.get(address).content.decode()
    for model, grade in ((base, 5), (child, 7)):
        answer = make_completion(prompt, model=model)
        Verdict.objects.create(rubric=rubric, prompt=prompt, completion_a=answer, grade=grade)
    page = client.get(address).content.decode()
    assert "1 pair judged" in page and "no votes on these pairs yet" in page and "judged nothing" not in page


def test_a_page_of_verdicts_asks_no_more_where_all_were_heard_again(project, rubric, voted, client):
    sign_in(client, project, "researcher")
    address = reverse("judge-verdicts", args=[project.slug, rubric.judge_id])

    def statements() -> int:
        with CaptureQueriesContext(connection) as seen:
            assert client.get(address).status_code == 200
        return len(seen)

    run = asked(project)
    repeat(run, voted[-1][0], voted[-1][0].winner)
    statements()  # what a process reads once is not counted
    few = statements()
    for verdict, _ in voted[:-1]:
        repeat(run, verdict, verdict.winner)
    assert statements() == few
