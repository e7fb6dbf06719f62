"""Excluding a person or withdrawing one's own annotations: what it touches, that it is one act, and its undoing."""

import pytest
from django.urls import reverse

from annotate.core.errors import Refused
from annotate.labelling.actions import set_status
from annotate.labelling.assigning import next_for
from annotate.labelling.bulk_status import ImportedAnnotator
from annotate.models import (
    Assignment,
    AuditEntry,
    Comparison,
    Dataset,
    Delivery,
    Flag,
    Membership,
    Rating,
    Span,
    StatusChange,
)
from annotate.models import Webhook as Hook
from evaluation.annotator_quality import exclusion, exclusion_effects
from evaluation.models import Exclusion, Promotion
from tests.support.api_client import Program, errors
from tests.support.evaluation.annotating import compare, make_items, rate
from tests.support.factories import (
    make_assignment,
    make_comparison,
    make_project,
    make_prompt,
    make_rating,
    make_user,
)
from training.models import Run


@pytest.fixture
def manager(project):
    return make_user(project, role="manager", username="mia")


@pytest.fixture
def anna(project):
    return make_user(project, username="anna")


@pytest.fixture
def bob(project):
    return make_user(project, username="bob")


@pytest.fixture
def said(project, anna, bob):
    """Anna compared three items and rated one; Bob compared one."""
    items = make_items(project, 3)
    for pair in items:
        compare(anna, pair, "better")
    rate(anna, items[0][0], 2)
    compare(bob, items[0], "worse")
    return items


def statuses(person) -> set[str]:
    return {row.status for table in (Comparison, Rating) for row in table.objects.filter(author=person)}


def test_excluding_changes_the_statuses_of_one_person_alone(project, said, manager, anna, bob):
    act = exclusion.exclude(project=project, person=anna, reason="answers without reading", by=manager)
    assert statuses(anna) == {"excluded"} and statuses(bob) == {"counted"}
    assert act.touched["changing"] == {"comparison": 3, "rating": 1}
    ledger = StatusChange.objects.all()
    assert ledger.count() == act.changes.count() == 4
    assert all(f"(act {act.pk})" in line.reason and line.by == manager for line in ledger)


def test_the_places_are_free_again_and_what_they_hold_goes_to_others(project, said, manager, anna):
    held = make_assignment(anna, said[2][1])
    exclusion.exclude(project=project, person=anna, reason="a bot", by=manager)
    assert set(anna.assignments.exclude(pk=held.pk).values_list("state", flat=True)) == {Assignment.State.EXCLUDED}
    held.refresh_from_db()
    assert held.state == Assignment.State.EXPIRED


def test_undoing_brings_back_this_acts_rows_and_no_others(project, said, manager, anna):
    first, second, third = Comparison.objects.filter(author=anna).order_by("id")
    set_status(rows=[first], status="excluded", reason="nonsense", by=manager)
    set_status(rows=[second], status="held", reason="too fast", by=manager)
    act = exclusion.exclude(project=project, person=anna, reason="a bot", by=manager)
    set_status(rows=[third], status="withdrawn", reason="decided since", by=None)
    exclusion.undo(act=act, reason="a mistake", by=manager)
    found = dict(Comparison.objects.filter(author=anna).values_list("pk", "status"))
    assert found == {first.pk: "excluded", second.pk: "held", third.pk: "withdrawn"}
    assert Rating.objects.get(author=anna).status == "counted"
    act.refresh_from_db()
    assert act.brought_back == {"comparison": 1, "rating": 1} and act.undone_by == manager
    assert anna.assignments.filter(state=Assignment.State.SUBMITTED).count() == 2


def test_an_act_is_undone_once(project, said, manager, anna):
    act = exclusion.exclude(project=project, person=anna, reason="a bot", by=manager)
    exclusion.undo(act=act, reason="a mistake", by=manager)
    with pytest.raises(Refused, match="undone"):
        exclusion.undo(act=act, reason="again", by=manager)


def test_after_undoing_they_can_be_excluded_again(project, said, manager, anna):
    exclusion.undo(
        act=exclusion.exclude(project=project, person=anna, reason="a bot", by=manager), reason="no bot", by=manager
    )
    exclusion.exclude(project=project, person=anna, reason="a bot after all", by=manager)
    assert statuses(anna) == {"excluded"}


def test_the_pause_is_part_of_the_act(project, said, manager, anna, bob):
    act = exclusion.exclude(project=project, person=anna, reason="a bot", by=manager)
    assert Membership.objects.get(user=anna).paused_at is not None
    exclusion.undo(act=act, reason="no bot", by=manager)
    assert Membership.objects.get(user=anna).paused_at is None
    exclusion.exclude(project=project, person=bob, reason="wrong guidelines", by=manager, pauses=False)
    assert Membership.objects.get(user=bob).paused_at is None


def test_who_was_paused_before_stays_paused(project, said, manager, anna):
    from django.utils import timezone

    Membership.objects.filter(user=anna).update(paused_at=timezone.now(), paused_reason="gold")
    act = exclusion.exclude(project=project, person=anna, reason="a bot", by=manager)
    exclusion.undo(act=act, reason="no bot", by=manager)
    assert Membership.objects.get(user=anna).paused_reason == "gold"


def test_who_was_paused_for_something_else_since_stays_paused(project, said, manager, anna):
    act = exclusion.exclude(project=project, person=anna, reason="a bot", by=manager)
    Membership.objects.filter(user=anna).update(paused_reason="missed known answers")
    exclusion.undo(act=act, reason="it was a mistake", by=manager)
    membership = Membership.objects.get(user=anna)
    assert membership.paused_at is not None and membership.paused_reason == "missed known answers"


def test_one_may_withdraw_ones_own_and_bring_it_back(project, said, manager, anna):
    act = exclusion.exclude(project=project, person=anna, reason="I changed my mind", by=anna)
    assert statuses(anna) == {"withdrawn"} and act.status == "withdrawn"
    assert Membership.objects.get(user=anna).paused_at is None
    with pytest.raises(Refused, match="only they"):
        exclusion.undo(act=act, reason="we need it", by=manager)
    exclusion.undo(act=act, reason="after all", by=anna)
    assert statuses(anna) == {"counted"}


def test_nobody_but_a_manager_excludes_others(project, said, anna, bob):
    for by in (bob, make_user(project, role="reviewer"), make_user(project, role="researcher"), make_user()):
        with pytest.raises(Refused):
            exclusion.exclude(project=project, person=anna, reason="I do not like her", by=by)
    assert statuses(anna) == {"counted"}


def test_the_excluded_cannot_undo_it(project, said, manager, anna):
    act = exclusion.exclude(project=project, person=anna, reason="a bot", by=manager)
    with pytest.raises(Refused):
        exclusion.undo(act=act, reason="I am no bot", by=anna)


@pytest.mark.parametrize("reason", ["", "  ", "x" * 161, "nu\x00ll"])
def test_a_reason_is_needed(project, said, manager, anna, reason):
    with pytest.raises(Refused, match="reason"):
        exclusion.exclude(project=project, person=anna, reason=reason, by=manager)
    assert not Exclusion.objects.exists()


def test_nothing_to_exclude_is_said(project, manager, bob):
    with pytest.raises(Refused, match="nothing to change"):
        exclusion.exclude(project=project, person=bob, reason="a bot", by=manager)


def test_what_they_imported_is_not_their_judgement(project, said, manager, anna):
    imported = make_comparison(*make_items(project, 1)[0], author=anna, source="an old tool")
    exclusion.exclude(project=project, person=anna, reason="a bot", by=manager)
    imported.refresh_from_db()
    assert imported.status == "counted"


def test_a_ranking_takes_its_pairs_along_and_brings_them_back(project, manager, anna):
    from annotate.models import Ranking

    pair = make_items(project, 1)[0]
    common = {"project": project, "prompt": pair[0].prompt, "author": anna, "judge": "person"}
    ranking = Ranking.objects.create(order=[[pair[1].pk], [pair[0].pk]], **common)
    make_comparison(*pair, "model_b", anna, ranking=ranking)
    act = exclusion.exclude(project=project, person=anna, reason="a bot", by=manager)
    assert {Ranking.objects.get().status, Comparison.objects.get().status} == {"excluded"}
    exclusion.undo(act=act, reason="no bot", by=manager)
    assert {Ranking.objects.get().status, Comparison.objects.get().status} == {"counted"}
    assert act.touched["changing"] == {"ranking": 1}, "one annotation, whatever its pairs"
    act.refresh_from_db()
    assert act.brought_back == {"ranking": 1}


@pytest.fixture
def imported(project, manager):
    """Two annotators of one file and a namesake in another, all brought in by the manager."""
    pairs = make_items(project, 3)
    for source, name in (("old tool", "eva/ö"), ("old tool", "leo"), ("another tool", "eva/ö")):
        for pair in pairs:
            make_comparison(*pair, "model_b", manager, source=source, source_judge=name)
    return ImportedAnnotator("old tool", "eva/ö")


def counted_by(who: ImportedAnnotator) -> int:
    return Comparison.objects.counted().filter(source=who.source, source_judge=who.name).count()


def test_a_judge_whom_only_an_import_names_is_excluded_alone_and_brought_back(project, said, imported, manager):
    namesake, other = ImportedAnnotator("another tool", "eva/ö"), ImportedAnnotator("old tool", "leo")
    act = exclusion.exclude(project=project, person=imported, reason="a bot", by=manager)
    assert [counted_by(who) for who in (imported, namesake, other)] == [0, 3, 3]
    assert act.touched["changing"] == {"comparison": 3} and not act.pauses and act.person is None
    assert StatusChange.objects.filter(reason=f"a bot (act {act.pk})", by=manager).count() == 3
    assert AuditEntry.objects.get(action="person.excluded").about == "eva/ö of old tool"
    assert Membership.objects.get(user=manager).paused_at is None, "who imported is not who judged"
    with pytest.raises(Refused, match="nothing to change"):
        exclusion.exclude(project=project, person=imported, reason="again", by=manager)
    exclusion.undo(act=act, reason="no bot", by=manager)
    assert counted_by(imported) == 3


def test_a_prompt_is_written_to_again_once_the_answer_of_an_imported_annotator_is_excluded(manager):
    project = make_project(asks_ratings=False, asks_comparisons=False, asks_answers=True)
    Membership.objects.create(project=project, user=manager, role="manager")
    prompt, file = make_prompt(project), {"source": "book", "source_judge": "eva"}
    project.demonstrations.create(prompt=prompt, text="1.", judge="person", author=manager, **file)
    user = make_user(project)
    assert next_for(project=project, user=user) is None
    exclusion.exclude(project=project, person=ImportedAnnotator("book", "eva"), reason="a bot", by=manager)
    assert next_for(project=project, user=user).prompt == prompt


def test_only_managers_exclude_an_imported_judge(project, imported):
    for role in ("annotator", "reviewer", "researcher"):
        with pytest.raises(Refused):
            exclusion.exclude(project=project, person=imported, reason="a bot", by=make_user(project, role=role))
    assert counted_by(imported) == 3


def test_what_an_imported_judge_touches_is_shown(project, imported, base, child, vote, manager):
    dataset = Dataset.objects.create(project=project, name="old", kind="preferences", side="train", content_hash="x")
    dataset.comparisons.set(Comparison.objects.filter(source="old tool"))
    common = {"project": project, "created_by": manager, "config": {}}
    run = Run.objects.create(name="reward", kind="reward", dataset=dataset, output_model=child, **common)
    vote(base, child, "model_a", 6, author=manager, source="old tool", source_judge="eva/ö")
    for _ in range(4):
        vote(child, base, "model_a")
    touched = exclusion_effects.touched_by(project, imported)
    assert [(t.dataset, t.judgements) for t in touched.datasets] == [(dataset, 3)] and touched.runs == [run]
    assert touched.votes == 6 and {t.model for t in touched.models} == {child}
    assert exclusion_effects.touched_by(project, manager).votes == 0, "what they imported is not their vote"


def test_marked_spans_alone_make_a_dataset_one_that_is_touched(project, said, anna):
    completion = said[0][0]
    common = {"project": project, "prompt": completion.prompt, "author": anna, "judge": "person"}
    span = Span.objects.create(completion=completion, start=0, end=2, label="untrue", text="No", **common)
    dataset = Dataset.objects.create(project=project, name="marks", kind="judgements", side="train", content_hash="x")
    dataset.spans.set([span])
    assert [(t.dataset, t.judgements) for t in exclusion_effects.touched_by(project, anna).datasets] == [(dataset, 1)]


def test_pages_of_an_imported_judge(client, project, imported, manager):
    client.force_login(manager)
    quality = client.get(reverse("quality", args=[project.slug])).content.decode()
    text = "?source=old+tool&amp;name=eva%2F%C3%B6"
    assert reverse("quality-imported", args=[project.slug]) + text in quality
    text = text.replace("&amp;", "&")
    page = client.get(reverse("quality-imported", args=[project.slug]) + text).content.decode()
    assert "3 comparisons" in page and "Exclude eva/ö" in page and "has no account here" in page
    address = reverse("quality-exclude-imported", args=[project.slug]) + text
    form = client.get(address).content.decode()
    assert "3</b> comparisons" in form and "no new items" not in form and counted_by(imported) == 3
    assert client.post(address, {"reason": ""}).status_code == 400
    assert client.post(address, {"reason": "a bot"}).status_code == 302
    assert counted_by(imported) == 0
    acts = client.get(reverse("quality-exclusions", args=[project.slug])).content.decode()
    assert "eva/ö" in acts and "old tool" in acts and "a bot" in acts
    assert "eva/ö" in client.get(reverse("quality", args=[project.slug])).content.decode()
    after = client.get(reverse("quality-imported", args=[project.slug]) + text).content.decode()
    assert "All annotations here were excluded" in after
    client.post(reverse("quality-undo", args=[project.slug, Exclusion.objects.get().pk]), {"reason": "no bot"})
    assert counted_by(imported) == 3


@pytest.mark.parametrize("asked", ["", "?source=old+tool&name=nobody", "?source=annotation&name=anna", "?name=eva%00"])
def test_an_imported_judge_whom_no_file_names_has_no_page(client, project, imported, manager, asked):
    client.force_login(manager)
    for name in ("quality-imported", "quality-exclude-imported"):
        assert client.get(reverse(name, args=[project.slug]) + asked).status_code == 404


def test_pages_of_an_imported_judge_are_for_reviewers_and_their_exclusion_for_managers(client, project, imported):
    text = "?source=old+tool&name=eva%2F%C3%B6"
    for role, sees in (("annotator", 403), ("reviewer", 200)):
        client.force_login(make_user(project, role=role))
        assert client.get(reverse("quality-imported", args=[project.slug]) + text).status_code == sees
        assert client.get(reverse("quality-exclude-imported", args=[project.slug]) + text).status_code == 403


def test_programs_exclude_an_imported_judge(project, imported, manager):
    program, path = Program(manager), f"projects/{project.slug}"
    named = {"source": "old tool", "name": "eva/ö"}
    assert program.get(f"{path}/quality/imported/", **named).json()["judgements"]["comparison"] == 3
    assert program.get(f"{path}/quality/imported/touched/", **named).json()["changing"] == {"comparison": 3}
    told = {"source": "old tool", "source_judge": "eva/ö", "reason": "a bot"}
    errors(Program(make_user(project)).post(f"{path}/exclusions/", told), 403)
    errors(program.post(f"{path}/exclusions/", {"reason": "a bot"}), 400)
    errors(program.post(f"{path}/exclusions/", {**told, "source_judge": "nobody"}), 400)
    errors(program.post(f"{path}/exclusions/", {**told, "person": manager.pk}), 400)
    act = program.post(f"{path}/exclusions/", told)
    assert act.status_code == 201 and act.json()["person"] is None and act.json()["person_name"] == "eva/ö"
    assert counted_by(imported) == 0
    assert program.post(f"{path}/exclusions/{act.json()['id']}/undo/", {"reason": "no bot"}).status_code == 200
    assert counted_by(imported) == 3
    errors(program.get(f"{path}/quality/imported/", source="old tool", name="nobody"), 404)


def test_flags_are_judgements_too(project, said, manager, anna):
    completion = said[0][0]
    common = {"project": project, "prompt": completion.prompt, "author": anna, "judge": "person"}
    Flag.objects.create(completion=completion, reason="offensive", **common)
    act = exclusion.exclude(project=project, person=anna, reason="a bot", by=manager)
    assert act.touched["changing"]["flag"] == 1 and Flag.objects.get().status == "excluded"


def test_it_is_audited_and_announced(project, said, manager, anna):
    Hook.objects.create(project=project, url="https://example.org/", secret="whsec_x", created_by=manager)
    act = exclusion.exclude(project=project, person=anna, reason="a bot", by=manager)
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.about, entry.reason, entry.actor) == ("person.excluded", "anna", "a bot", manager)
    assert entry.changes["comparison"] == [3, 0]
    body = Delivery.objects.get().body
    assert body["type"] == "judgement.status" and len(body["data"]["changes"]) == 4
    exclusion.undo(act=act, reason="no bot", by=manager)
    assert AuditEntry.objects.order_by("-id").first().action == "person.excluded.undone"


@pytest.fixture
def trained(project, said, base, child, manager, anna):
    """A run learnt from a dataset with two of Anna's comparisons and made `child`; a second run trained on from it."""
    dataset = Dataset.objects.create(project=project, name="first", kind="preferences", side="train", content_hash="x")
    dataset.comparisons.set(Comparison.objects.filter(author=anna)[:2])
    common = {"project": project, "created_by": manager, "config": {}}
    run = Run.objects.create(name="reward", kind="reward", dataset=dataset, output_model=child, **common)
    later = Run.objects.create(name="ppo", kind="ppo", parent=child, output_model=base, **common)
    return dataset, run, later


def test_what_it_touches_is_shown_before(project, trained, base, child, anna):
    dataset, run, _ = trained
    Promotion.objects.create(project=project, model=base, reason="good")
    touched = exclusion_effects.touched_by(project, anna)
    assert [(t.dataset, t.judgements) for t in touched.datasets] == [(dataset, 2)]
    assert touched.runs == [run]
    assert {(t.model, t.directly, t.is_served) for t in touched.models} == {(child, True, False), (base, False, True)}
    assert touched.total == 4 and not touched.places


def test_ranks_are_told_with_and_without_their_votes(project, base, child, vote, anna, manager):
    vote(base, child, "model_a", 6, author=anna)
    for _ in range(4):
        vote(child, base, "model_a")
    touched = exclusion_effects.touched_by(project, anna)
    assert touched.votes == 6
    place = {p.model: p for p in touched.places}
    assert place[base].rating > place[child].rating
    assert place[base].rating_without < place[child].rating_without
    exclusion.exclude(project=project, person=anna, reason="paid to vote", by=manager)
    from evaluation.leaderboard.leaderboard_rows import standings
    from evaluation.leaderboard.snapshots import current

    after = {row.model: row.rating for row in standings(current(project=project, judge="person"))}
    assert after[base] == pytest.approx(place[base].rating_without, abs=1e-6)


def test_the_page_shows_it_asks_and_does_it(client, project, trained, manager, anna):
    client.force_login(manager)
    url = reverse("quality-exclude", args=[project.slug, anna.pk])
    page = client.get(url).content.decode()
    for text in (
        "3</b> comparisons",
        "1</b> rating",
        "first",
        "Run",
        "tide-sft",
        "descends from a model that was trained on them",
    ):
        assert text in page
    assert statuses(anna) == {"counted"}, "a look changes nothing"
    refused = client.post(url, {"reason": ""})
    assert refused.status_code == 400 and "Enter a reason" in refused.content.decode()
    assert 'name="pauses" checked' in client.get(url).content.decode()
    assert 'name="pauses" checked' not in client.post(url, {"reason": " "}).content.decode(), "it was taken away"
    assert client.post(url, {"reason": "a bot", "pauses": "on"}).status_code == 302
    assert statuses(anna) == {"excluded"}
    acts = client.get(reverse("quality-exclusions", args=[project.slug])).content.decode()
    assert "a bot" in acts and "3 comparisons, 1 rating" in acts
    act = Exclusion.objects.get()
    client.post(reverse("quality-undo", args=[project.slug, act.pk]), {"reason": "no bot"})
    assert statuses(anna) == {"counted"}


def test_lineage_says_that_judgements_no_longer_count(client, project, trained, child, manager, anna):
    client.force_login(manager)
    exclusion.exclude(project=project, person=anna, reason="a bot", by=manager)
    for name in ("lineage", "model"):
        assert "2 no longer count" in client.get(reverse(name, args=[child.pk])).content.decode()


@pytest.mark.parametrize("role", ["annotator", "reviewer", "researcher"])
def test_pages_of_exclusion_are_for_managers(client, project, said, anna, role):
    client.force_login(make_user(project, role=role))
    exclude = reverse("quality-exclude", args=[project.slug, anna.pk])
    assert client.get(exclude).status_code == 403
    assert client.post(exclude, {"reason": "x"}).status_code == 403
    assert client.get(reverse("quality-exclusions", args=[project.slug])).status_code == 403
    assert statuses(anna) == {"counted"}


def test_ones_own_page_withdraws_and_brings_back(client, project, said, anna):
    client.force_login(anna)
    url = reverse("quality-withdraw", args=[project.slug])
    assert "Withdraw 4 annotations" in client.get(url).content.decode()
    client.post(url, {"reason": "I was tired"})
    assert statuses(anna) == {"withdrawn"}
    assert "I was tired" in client.get(reverse("quality-mine", args=[project.slug])).content.decode()
    client.post(reverse("quality-undo", args=[project.slug, Exclusion.objects.get().pk]), {"reason": "no"})
    assert statuses(anna) == {"counted"}


def test_another_ones_act_does_not_exist_for_annotators(client, project, said, manager, anna, bob):
    act = exclusion.exclude(project=project, person=anna, reason="a bot", by=manager)
    client.force_login(bob)
    assert client.post(reverse("quality-undo", args=[project.slug, act.pk]), {"reason": "x"}).status_code == 404


def test_the_api_does_the_same(project, trained, manager, anna):
    api = Program(manager)
    base = f"projects/{project.slug}/"
    touched = api.get(f"{base}quality/judges/{anna.pk}/touched/").json()
    assert touched["changing"] == {"comparison": 3, "rating": 1} and touched["datasets"][0]["judgements"] == 2
    body = {"person": anna.pk, "reason": "a bot"}
    first = api.post(f"{base}exclusions/", body, key="k")
    again = api.post(f"{base}exclusions/", body, key="k")
    assert first.status_code == again.status_code == 201 and first.json() == again.json()
    assert [act["id"] for act in api.get(f"{base}exclusions/").json()] == [first.json()["id"]]
    undone = api.post(f"{base}exclusions/{first.json()['id']}/undo/", {"reason": "no bot"})
    assert undone.status_code == 200 and undone.json()["brought_back"] == {"comparison": 3, "rating": 1}
    assert statuses(anna) == {"counted"}


def test_the_api_refuses_what_a_role_may_not(project, said, manager, anna, bob):
    base = f"projects/{project.slug}/"
    api = Program(bob)
    assert api.post(f"{base}exclusions/", {"person": anna.pk, "reason": "x"}).status_code == 403
    assert api.get(f"{base}exclusions/").status_code == 403
    assert api.get(f"{base}quality/judges/{anna.pk}/touched/").status_code == 403
    own = api.post(f"{base}exclusions/", {"person": bob.pk, "reason": "my own"})
    assert own.status_code == 201 and own.json()["status"] == "withdrawn"
    assert Program(manager).post(f"{base}exclusions/", {"person": 10**9, "reason": "x"}).status_code == 400


def test_two_ratings_of_the_same_person_are_changed_by_few_queries(
    project, manager, anna, django_assert_max_num_queries
):
    for completion, _ in make_items(project, 60):
        make_rating(completion, anna)
    with django_assert_max_num_queries(75):
        exclusion.exclude(project=project, person=anna, reason="a bot", by=manager)
