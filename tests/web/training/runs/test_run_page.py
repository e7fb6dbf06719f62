"""The pages of runs: what they show in every state, what they refuse, and that they stay live."""

from __future__ import annotations

import json
import re
from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import AnonymousUser
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from annotate.models import LanguageModel
from tests.support.api_client import Program
from tests.support.factories import make_contestant, make_project, make_user, sign_in
from tests.support.page_socket import PageSocket
from tests.support.training.runs import make_dataset, make_run, make_weights
from training import consumers
from training.core import stages
from training.core.endings import LAST_WORDS
from training.core.kinds import KINDS
from training.models import Attempt, Metric, Run, Sample
from training.routing import websocket_urlpatterns
from training.runs import live_pages
from training.runs.figures import curves, health, progress
from training.runs.present import kind_sections, run_details, run_samples
from training.runs.present.run_page import run_tabs
from training.runs.present.run_page.run_charts import Figures
from training.runs.queue.announcements import announce

pytestmark = pytest.mark.django_db


@pytest.fixture
def researcher(project, client: Client):
    return sign_in(client, project, "researcher")


def add_metrics(run: Run, *values: dict, begin: int = 1) -> None:
    now = timezone.now()
    Metric.objects.bulk_create(
        Metric(run=run, sequence=begin + i, step=begin + i - 1, values=v, time=now) for i, v in enumerate(values)
    )


def under_way(run: Run, **fields) -> Attempt:
    Run.objects.filter(pk=run.pk).update(state="running", started_at=timezone.now())
    run.refresh_from_db()
    lease = timezone.now() + timedelta(minutes=1)
    values = {"number": run.attempts.count() + 1, "worker": "w@h:1:1:1", "launcher": "local", "lease_expires_at": lease}
    return Attempt.objects.create(run=run, **{**values, **fields})


def page(client: Client, run: Run, tab: str = "", **query) -> str:
    response = client.get(reverse("run", args=[run.pk]), ({"tab": tab} if tab else {}) | query)
    assert response.status_code == 200
    return response.content.decode()


def test_a_running_run_shows_how_far_it_is_and_what_became_of_its_attempts(client, project, researcher):
    run = make_run(project, name="tidewater-ppo-3")
    under_way(run, state="lost", reason="the worker was lost", ended_at=timezone.now())
    under_way(run, resumed_from_step=40, memory_bytes=3_100_000_000)
    ends_at = timezone.now() + timedelta(minutes=6)
    Run.objects.filter(pk=run.pk).update(step=57, total_steps=80, ends_at=ends_at, phase="training")
    add_metrics(run, {"score_mean": 0.1, "kl": 0.0}, {"score_mean": 0.4, "kl": 1.25, "episodes_per_second": 1.2})
    text = page(client, run)
    assert "Step 57 of 80 · 6 min left · score 0.4 · 1.2 episodes/s · 3.1 GB · " in text
    assert "attempt 2, resumed from step 40 after the worker was lost" in text
    assert '<progress value="57" max="80"' in text
    assert 'form="cancel-run"' in text and 'form="resume-run"' not in text
    assert '<noscript><meta http-equiv="refresh"' in text
    headline = json.loads(re.search(r'<script id="points-data"[^>]*>(.*?)</script>', text, re.S)[1])
    assert [c["name"] for c in headline["curves"]] == ["score_mean"] and headline["points"][1][3] == {"score_mean": 0.4}
    text = page(client, run, "charts")
    assert "Step 57 of 80" in text, "each tab says how far it is"
    assert '<td class="n">1.25</td>' in text, "every curve has its table"
    data = json.loads(re.search(r'<script id="points-data"[^>]*>(.*?)</script>', text, re.S)[1])
    assert data["points"][0][2:] == [0, {"score_mean": 0.1, "kl": 0.0}]
    assert [c["name"] for c in data["curves"] if c["main"]] == ["score_mean", "kl"]


def test_without_scripts_cancelling_is_asked_on_a_page_that_stands_still(client, project, researcher):
    """A reload would close the question that somebody reads."""
    run = make_run(project)
    under_way(run)
    asks, reloads = f'href="{reverse("run", args=[run.pk])}?ask=cancel"', '<meta http-equiv="refresh"'
    text = page(client, run)
    assert asks in text and reloads in text and '<details class="sure cancel-here">' in text
    text = page(client, run, ask="cancel")
    assert '<details class="sure cancel-here" open>' in text and "Do not cancel" in text
    assert asks not in text and reloads not in text


@pytest.mark.parametrize("state", ["failed", "cancelled", "paused"])
def test_what_a_run_says_in_backticks_is_code_and_no_markup_of_its_own(client, project, researcher, state):
    texts = {"reason": "There is no pad token: `<b>`.", "remedy": "Import it with `python -m recipe`, which adds one."}
    text = page(client, make_run(project, state=state, **texts))
    assert "<code>&lt;b&gt;</code>" in text and "<code>python -m recipe</code>, which" in text and "`" not in text


@pytest.mark.parametrize("address", ["runs", "evaluations"])
def test_pages_that_list_failed_runs_write_code_alike(client, project, researcher, address):
    make_run(
        project, kind="evaluate", state="failed", finished_at=timezone.now(), reason="The package `<b>` is missing."
    )
    text = client.get(reverse(address, args=[project.slug])).content.decode()
    assert "The package <code>&lt;b&gt;</code> is missing." in text


def test_what_a_measure_notes_in_backticks_is_code(client, project, researcher):
    result = {"metrics": {"accuracy": {"value": 0.5, "n": 4}}, "notes": ["Its `answer` is missing.", "Four are left."]}
    text = page(client, make_run(project, kind="evaluate", state="succeeded", result=result))
    assert '<p class="note">Its <code>answer</code> is missing.</p>' in text and "Four are left." in text


def test_figures_of_fluency_stand_with_their_units_and_terms(client, project, researcher):
    figures = {name: {"value": 0.5, "n": 4} for name in ("surprise above the parent", "KL from the parent")}
    run = make_run(
        project, kind="evaluate", state="succeeded", config={"measure": "fluency"}, result={"metrics": figures}
    )
    text = page(client, run)
    assert "It measured surprise above the parent: +0.500 nats per token on 4 items." in text
    assert "KL from the parent, nats per answer" in text
    assert ">Surprise</button>" in text and ">Interval</button>" in text


def test_the_code_of_a_run_says_whether_all_of_it_was_committed(client, project, researcher):
    dirty = page(client, make_run(project, code_version="v0.9.0-3-g93f381b1-dirty"))
    assert "<code>v0.9.0-3-g93f381b1</code>, with changes that were not committed" in dirty
    clean = page(client, make_run(project, code_version="v0.9.0-3-g93f381b1"))
    assert "<code>v0.9.0-3-g93f381b1</code>" in clean and "not committed" not in clean
    assert "<dt>Code</dt><dd>unknown</dd>" in page(client, make_run(project))


def test_a_failed_run_says_why_and_what_to_do_and_can_be_resumed(client, project, researcher):
    run = make_run(project, state="failed", reason="Three annotations tell nothing.", remedy="Collect at least 40.")
    run.path.mkdir(parents=True)
    (run.path / "log.txt").write_text("epoch 1\repoch 2\nTraceback <script>\n")
    text = page(client, run)
    assert "Three annotations tell nothing." in text and "Collect at least 40." in text and 'href="?tab=log"' in text
    log = page(client, run, "log")
    assert "epoch 2\nTraceback &lt;script&gt;" in log and "epoch 1" not in log
    assert '<noscript><meta http-equiv="refresh"' not in text
    response = client.post(reverse("resume-run", args=[run.pk]))
    assert response.status_code == 302
    run.refresh_from_db()
    assert (run.state, run.reason) == ("queued", "")


@pytest.mark.parametrize("role", ["", "annotator", "reviewer", "researcher"])
def test_the_log_is_for_researchers_of_the_project_on_the_page_and_live(client, project, role):
    run = make_run(project, state="failed", reason=f"It ended.{LAST_WORDS} of /srv/secret-place")
    run.path.mkdir(parents=True)
    (run.path / "log.txt").write_text("loading /srv/secret-place\n")
    user = make_user(project, role=role) if role else None
    if user is not None:
        client.force_login(user)
    text, log, may = page(client, run), page(client, run, "log"), role == "researcher"
    assert ("/srv/secret-place" in text) is may and ("/srv/secret-place" in log) is may
    assert ("Only researchers of the project see the log" in log) is not may
    reader = run_details.Reader(may_change=may, may_review=role == "reviewer")
    for view in (run_tabs.View(tab) for tab in run_tabs.names_of(run)):
        live = run_details.render_parts(run, view, Figures.read(run), reader, whole_tables=True)
        quotes = any("/srv/secret-place" in part for part in live.parts.values())
        assert quotes is (may and view.tab in ("overview", "log")), view
    download = client.get(reverse("run-log", args=[run.pk]))
    assert download.status_code == (200 if may else 403 if user is not None else 302)
    if may:
        assert b"".join(download.streaming_content) == b"loading /srv/secret-place\n"
    if user is not None:
        assert ("/srv/secret-place" in Program(user).get(f"runs/{run.pk}/").json()["reason"]) is may
    listed = client.get(reverse("runs", args=[project.slug])).content.decode()
    assert "It ended." in listed and "/srv/secret-place" not in listed


def test_a_queued_run_is_cancelled_at_once(client, project, researcher):
    run = make_run(project)
    assert "Next in the queue" in page(client, run)
    client.post(reverse("cancel-run", args=[run.pk]))
    assert Run.objects.get().state == "cancelled"
    assert "Cancelled while it waited in the queue" in page(client, run)


def test_a_finished_run_leads_along_the_chain(client, project, researcher):
    dataset = make_dataset(project)
    child = make_weights(name="the-child")
    run = make_run(
        project, state="succeeded", output_model=child, dataset=dataset, started_at=timezone.now(),
        finished_at=timezone.now() + timedelta(minutes=9), seed=7,
        result={"accuracy": {"value": 0.71, "lower": 0.66, "upper": 0.76, "n": 312}, "stopped": None},
    )  # fmt: skip
    text = page(client, run)
    assert "Succeeded, 9 min after the start" in text
    assert "0.71 [0.66, 0.76], n = 312" in text
    for row in (child, run.parent):
        assert reverse("model", args=[row.pk]) in text
    assert reverse("dataset", args=[dataset.pk]) in text and dataset.content_hash[:8] in text
    assert "Check the answers" not in text and "ended at a limit" not in text


def test_a_reward_run_says_first_how_far_it_can_be_trusted(client, project, researcher):
    held_out = {"pair_accuracy": {"value": 0.71, "lower": 0.66, "upper": 0.76, "n": 312}}
    result = {"seconds": 3.0, "held_out": held_out, "verdict": "Right about 71 % of 312 pairs.", "beats_chance": True}
    run = make_run(project, kind="reward", state="succeeded", result=result)
    text = page(client, run)
    assert '<div class="message"><p>Right about 71 % of 312 pairs.' in text
    assert text.index("held out: pair accuracy") < text.index("<dt>seconds</dt>"), "figures with an interval come first"
    reward_model = make_weights(kind="reward", card={"metrics": result})
    ppo = make_run(project, kind="ppo", reward_model=reward_model)
    assert "agrees with held-out annotations 71 % [66, 76]" in page(client, ppo)


def test_parent_and_child_stand_side_by_side(client, project, researcher):
    result = {"parent": {"length_mean": 44.0}, "final": {"length_mean": 46.5, "kl": 5.25}, "stopped": None}
    result["final"]["length_mean_se"] = 2.0  # a standard error is no figure of its own
    text = page(client, make_run(project, kind="ppo", state="succeeded", result=result))
    rows = re.findall(r'<th scope="row">([^<]*)</th><td class="n">([^<]*)</td><td class="n">([^<]*)</td>', text)
    assert rows == [("Length of the answers, tokens", "44", "46.5"), ("KL to the parent, nats per answer", "–", "5.25")]


def test_a_run_names_the_votes_behind_it_through_its_reward_model(client, project, researcher):
    dataset = make_dataset(project, kind="preferences")
    dataset.counts, dataset.judge = {"comparisons": 312, "ratings": 540, "judges": 9}, "person"
    dataset.save()
    reward_model = make_weights(kind="reward")
    make_run(project, kind="reward", state="succeeded", dataset=dataset, output_model=reward_model)
    ppo = make_run(project, kind="ppo", reward_model=reward_model)
    assert f'<a href="{reverse("dataset", args=[dataset.pk])}">312 pairs, 540 ratings by 9 people</a>' in page(
        client, ppo
    )
    dataset.counts["judges"] = 1
    dataset.save()
    assert "540 ratings by 1 person</a>" in page(client, ppo)
    assert ">1 annotator</span>" in page(client, dataset.runs.get())
    counts = dict(client.get(reverse("run", args=[dataset.runs.get().pk])).context["dataset_counts"])
    assert counts["annotators"] == 1 and "judges" not in counts, "in the words of the pages"


def test_a_run_that_stopped_itself_says_so(client, project, researcher):
    stopped = {"code": "length_collapse", "step": 9, "message": "Answers are 4 tokens long where the parent's are 44."}
    run = make_run(project, state="succeeded", result={"stopped": stopped})
    text = page(client, run)
    assert "The run ended at a limit." in text and "Answers are 4 tokens long" in text


def test_the_same_prompt_is_shown_then_and_now(client, project, researcher):
    run = make_run(project)
    prompt = [{"role": "user", "content": "Why are there tides?"}]
    for sequence, (step, text) in enumerate([(0, "The Moon."), (3, "Half-way."), (6, "The sea <breathes>.")], 1):
        Sample.objects.create(run=run, sequence=sequence, step=step, prompt=prompt, completion=text, score=step / 3)
    text = page(client, run, "samples")
    assert "parent · score 0" in text and "step 6 · score 2" in text
    assert "The <del>Moon</del>." in text and "<ins>sea &lt;breathes&gt;</ins>." in text and "Half-way" not in text
    assert 'href="?tab=samples&amp;step=3"' in text
    text = page(client, run, "samples", step=3)
    assert "step 3 · score 1" in text and "Half-way" in text and "breathes" not in text


def test_a_collapse_is_said_while_the_run_can_still_be_stopped():
    rows = [(0, {"length_mean": 44, "kl": 0.0, "distinct": 1.0}), (5, {"length_mean": 26, "kl": 2.0, "distinct": 0.98})]
    config = {"stop_kl": 8.0, "min_length_ratio": 0.5, "max_length_ratio": 2.0, "min_distinct_ratio": 0.6}
    assert "the answers have 26 tokens; the parent's have 44" in " ".join(health.warnings(rows, config))
    healthy = [rows[0], (5, {"length_mean": 40, "kl": 5.0, "distinct": 0.97})]
    assert health.warnings(healthy, config) == []
    far = [rows[0], (5, {"length_mean": 44, "kl": 7.0, "distinct": 0.97})]
    assert "the KL to the parent is 7.0 nats; the limit is 8" in health.warnings(far, config)[0]
    alike = [rows[0], (5, {"length_mean": 44, "kl": 1.0, "distinct": 0.65})]
    assert "65 % of the answers differ" in health.warnings(alike, config)[0]


def test_strangers_see_no_private_run_and_annotators_no_buttons(client, project):
    private = make_project(is_public=False)
    run = make_run(private)
    assert client.get(reverse("run", args=[run.pk])).status_code == 302
    client.force_login(make_user(project))
    for name in ("run", "run-figures"):
        assert client.get(reverse(name, args=[run.pk])).status_code == 404
    assert client.post(reverse("cancel-run", args=[run.pk])).status_code == 404
    client.force_login(make_user(private, role="annotator"))
    assert "cancel-run" not in page(client, run)
    assert client.post(reverse("cancel-run", args=[run.pk])).status_code == 403
    assert client.get(reverse("new-run", args=[private.slug, "sample"])).status_code == 403
    assert Run.objects.get().state == "queued"


def test_the_list_shows_states_and_filters_by_kind(client, project, researcher):
    make_run(project, name="one")
    make_run(project, name="two", kind="sample", state="failed", reason="No weights.")
    make_run(name="elsewhere")
    everything = client.get(reverse("runs", args=[project.slug])).content.decode()
    assert "one" in everything and "No weights." in everything and "elsewhere" not in everything
    filtered = client.get(reverse("runs", args=[project.slug]), {"kind": "sample"}).content.decode()
    assert ">two</a>" in filtered and ">one</a>" not in filtered


def test_a_long_queue_costs_the_list_no_more_queries(client, project, researcher, django_assert_max_num_queries):
    for _ in range(3):
        make_run(project)
    address = reverse("runs", args=[project.slug])
    with CaptureQueriesContext(connection) as few:
        client.get(address)
    last = [make_run(project) for _ in range(6)][-1]
    with django_assert_max_num_queries(len(few)):
        text = client.get(address).content.decode()
    assert "Waiting in the queue behind 8 more" in text and progress.progress(last, [], {}, last.created_at) in text


def test_a_score_that_was_not_scaled_is_not_said_to_be():
    rows = [(0, {"score_mean": 4.2})]
    [scaled], [plain] = (curves.curves(rows, {"score_scaling": how}) for how in ("standardise", "none"))
    [group] = curves.curves(rows, {"group_size": 8})  # GRPO and RLOO never scale it
    assert "average 0" in scaled.title and plain.title == group.title == "Score"


def test_an_empty_list_says_what_to_do(client, project, researcher):
    text = client.get(reverse("runs", args=[project.slug])).content.decode()
    assert "No runs yet" in text and reverse("new-run", args=[project.slug, "sample"]) in text


def test_the_form_queues_what_it_shows_and_twice_the_button_is_once(client, project, researcher):
    parent, dataset = make_weights(), make_dataset(project)
    url = reverse("new-run", args=[project.slug, "sample"])
    form = client.get(url).context["form"]
    values = {
        field.html_name: "" if field.value() is None else field.value()
        for field in [*form.first_fields(), *form.advanced_fields()]
    }
    assert (values["parent"], values["dataset"]) == (parent.pk, dataset.pk), "the newest that fit are chosen"
    values |= {"name": "answers", "parent": parent.pk, "dataset": dataset.pk, "config.temperature": "0.7", "key": "k1"}
    responses = [client.post(url, values) for _ in range(2)]
    run = Run.objects.get()
    assert [r.url for r in responses] == [reverse("run", args=[run.pk])] * 2
    assert (run.kind, run.name, run.parent, run.dataset) == ("sample", "answers", parent, dataset)
    assert run.config["temperature"] == 0.7 and run.config["completions_per_prompt"] == 4
    assert run.created_by == researcher


def test_a_run_can_be_queued_again_with_changes(client, project, researcher):
    older = make_run(
        project, kind="sample", dataset=make_dataset(project), seed=9, state="failed", config={"temperature": 0.3}
    )
    make_weights()
    make_dataset(project)
    again = f"{reverse('new-run', args=[project.slug, 'sample'])}?like={older.pk}"
    assert again in page(client, older)
    form = client.get(again).context["form"]
    assert (form["parent"].value(), form["dataset"].value()) == (older.parent_id, older.dataset_id)
    assert (form["seed"].value(), form["config.temperature"].value()) == (9, 0.3)
    assert form["name"].value() != older.name
    values = {
        field.html_name: "" if field.value() is None else field.value()
        for field in [*form.first_fields(), *form.advanced_fields()]
    }
    client.post(reverse("new-run", args=[project.slug, "sample"]), {**values, "cloned_from": older.pk})
    clone = older.clones.get()
    assert clone.config["temperature"] == 0.3 and f"run {older.pk}</a>, with changes" in page(client, clone)
    assert f"?run={older.pk}&amp;run={clone.pk}" in page(client, clone), "comparing them is one click"


def test_every_choice_of_an_earlier_run_is_in_the_form(client, project, researcher):
    chosen = {
        "parent": make_weights(),
        "dataset": make_dataset(project),
        "other_dataset": make_dataset(project, kind="sft"),
        "reward_model": make_weights(kind="reward"),
    }
    older = make_run(project, kind="ppo", seed=4, config={"steps": 3, "kl_target": None}, **chosen)
    make_weights(), make_dataset(project), make_dataset(project, kind="sft"), make_weights(kind="reward")
    url = f"{reverse('new-run', args=[project.slug, 'ppo'])}?like={older.pk}"
    form = client.get(url).context["form"]
    assert {name: form[name].value() for name in chosen} == {name: row.pk for name, row in chosen.items()}
    assert form["config.steps"].value() == 3 and form["config.kl_target"].value() is None
    without = make_run(project, kind="ppo", reward_model=None, parent=chosen["parent"], dataset=chosen["dataset"])
    form = client.get(url.replace(f"like={older.pk}", f"like={without.pk}")).context["form"]
    assert form["other_dataset"].value() is None and form["reward_model"].value() is None
    changed = client.get(f"{url}&config.steps=7&parent=").context["form"]
    assert changed["config.steps"].value() == "7" and changed["parent"].value() == ""


def test_the_form_shows_each_refusal_beside_its_field(client, project, researcher):
    url = reverse("new-run", args=[project.slug, "sample"])
    config = {
        "temperature": "9",
        "completions_per_prompt": "4",
        "max_new_tokens": "64",
        "top_p": "1",
        "batch_size": "32",
        "request_timeout": "300",
    }
    response = client.post(url, {"name": "x", "seed": 0} | {f"config.{name}": value for name, value in config.items()})
    assert response.status_code == 400
    errors = response.context["form"].errors
    assert set(errors) == {"parent", "dataset", "config.temperature"}
    assert "between 0 and 5" in errors["config.temperature"][0]
    assert not Run.objects.exists()


def test_the_form_offers_only_what_fits(client, project, researcher):
    make_weights(name="retired").retire(reason="old")
    policy = make_weights(name="policy")
    LanguageModel.objects.create(name="far", endpoint="https://example.org/v1")
    reward = make_weights(name="reward", kind="reward")
    make_dataset(project, side="eval")
    train = make_dataset(project)
    make_dataset(make_project())
    make_dataset(project, kind="sft")
    form = client.get(reverse("new-run", args=[project.slug, "ppo"])).context["form"]
    offered = {name: list(form.fields[name].queryset) for name in ("parent", "reward_model", "dataset")}
    assert offered == {"parent": [policy], "reward_model": [reward], "dataset": [train]}


def test_the_form_begins_with_this_project_s_models_that_go_together(client, project, researcher):
    base = make_weights(name="base")
    tuned, scorer = make_weights(name="tuned", parent=base), make_weights(name="scorer", kind="reward", parent=base)
    apart = make_weights(name="apart")
    unfit = make_weights(name="unfit", kind="reward", parent=apart)
    elsewhere = make_weights(name="elsewhere", parent=base)
    theirs = make_weights(name="theirs", kind="reward", parent=elsewhere)
    make_run(project, kind="sft", parent=base, output_model=tuned, state="succeeded")
    make_run(project, kind="reward", parent=base, output_model=scorer, state="succeeded")
    make_run(project, kind="reward", parent=base, output_model=unfit, state="succeeded")
    make_run(make_project(), kind="ppo", parent=elsewhere, reward_model=theirs, dataset=make_dataset(project))
    url = reverse("new-run", args=[project.slug, "ppo"])
    form = client.get(url).context["form"]
    assert (form["parent"].value(), form["reward_model"].value()) == (tuned.pk, scorer.pk)
    asked = client.get(f"{url}?parent={apart.pk}").context["form"]
    assert asked["reward_model"].value() == unfit.pk, "the parent that a link asked for has one of its own"
    alone = client.get(f"{url}?parent={elsewhere.pk}").context["form"]
    assert alone["reward_model"].value() == scorer.pk, "of the same line, and of this project"
    stranger = make_weights(name="stranger")
    none = client.get(f"{url}?parent={stranger.pk}").context["form"]
    assert none["reward_model"].value() is None, "no reward model was made from anything of its line"


def test_a_new_project_begins_with_what_was_imported_and_not_with_a_child_of_another(client, project, researcher):
    theirs = make_run(make_project(), kind="sft", state="succeeded")
    imported = make_weights(name="imported")
    child = theirs.output_model = make_weights(name="child", parent=imported)
    theirs.save()
    form = client.get(reverse("new-run", args=[project.slug, "sample"])).context["form"]
    assert child in form.fields["parent"].queryset and form["parent"].value() == imported.pk


def test_without_a_dataset_the_form_says_how_to_get_one(client, project, researcher):
    text = client.get(reverse("new-run", args=[project.slug, "reward"])).content.decode()
    assert "There is no dataset of kind <strong>preferences</strong>" in text


@pytest.mark.parametrize(
    ("kind", "links"),
    [
        ("pretrain", ("/runs/new/tokenizer/", "/runs/new/corpus/", "/data/upload/?kind=corpus")),
        ("classify", ("/data/upload/?kind=labelled",)),
        ("sft", ("/data/?kind=sft#freeze", "/data/upload/?kind=sft")),
    ],
)
def test_what_is_missing_comes_with_the_way_to_it(client, project, researcher, kind, links):
    text = client.get(reverse("new-run", args=[project.slug, kind])).content.decode()
    lacking = text[text.index('class="empty"') : text.index("<form", text.index('class="empty"'))]
    assert all(f'href="/p/{project.slug}{link}"' in lacking for link in links)


def test_an_unknown_kind_of_run_is_not_found(client, project, researcher):
    assert client.get(reverse("new-run", args=[project.slug, "alchemy"])).status_code == 404


def test_candidates_of_a_reward_run_are_dots_and_no_curve(client, project, researcher):
    run = make_run(project, kind="reward")
    add_metrics(run, {"cv_accuracy": 0.6, "cv_nll": 0.7}, {"cv_accuracy": 0.5, "cv_nll": 0.8}, {"loss": 0.4})
    drawn = client.get(reverse("run", args=[run.pk]), {"tab": "charts"}).context["curve_data"]["curves"]
    assert {c["name"]: (c["dots"], c["unit"]) for c in drawn} == {
        "cv_accuracy": (True, "candidate"),
        "cv_nll": (True, "candidate"),
        "loss": (False, "step"),
    }


def test_metrics_come_as_json_after_a_sequence_number(client, project, researcher):
    run = make_run(project)
    add_metrics(run, {"score": 1.0}, {"score": 2.0}, {"score": 3.0})
    url = reverse("run-figures", args=[run.pk])
    assert [m["sequence"] for m in client.get(url, {"after": 1}).json()["metrics"]] == [2, 3]
    assert client.get(url, {"after": "soon"}).status_code == 400


class Socket(PageSocket):
    def __init__(self, run: Run | None, query: str = "", path: str = "") -> None:
        super().__init__(websocket_urlpatterns, path or f"/ws/runs/{run.pk if run else 0}/", query)


def points_in(html: str) -> list[int]:
    match = re.search(r'data-points="([^"]*)"', html)
    return [row[0] for row in json.loads(match[1].replace("&quot;", '"'))] if match else []


@pytest.mark.django_db(transaction=True)
async def test_a_live_page_gets_each_point_once_and_its_own_parts():
    run = await sync_to_async(make_run)()
    await sync_to_async(under_way)(run)
    await sync_to_async(add_metrics)(run, {"score": 1.0}, {"score": 2.0})
    socket = Socket(run, query="tab=charts")
    await socket.connect()
    first = await socket.receive()
    assert points_in(first) == [1, 2]
    assert 'id="run-status" hx-swap-oob="true"' in first and 'id="run-main-table" hx-swap-oob="true"' in first
    await sync_to_async(add_metrics)(run, {"score": 3.0}, begin=3)
    await sync_to_async(announce)(run.pk)
    second = await socket.receive()
    assert points_in(second) == [3]
    assert '<table hx-swap-oob="beforeend:#run-main-rows"><tbody><tr><td class="n">2</td>' in second
    assert second.count('<td class="n">2</td>') == 1 and 'id="run-main-table"' not in second, "only what is new"
    assert 'id="run-kind"' in first and 'id="run-kind"' not in second, "what did not change is not sent again"
    assert 'id="run-facts"' not in first and 'id="run-samples"' not in first, "nor what is on other tabs"
    # The recipe was resumed and writes step 3 anew: the page must forget the old one.
    await sync_to_async(run.metrics.filter(sequence=3).delete)()
    await sync_to_async(add_metrics)(run, {"score": 3.5}, begin=3)
    await sync_to_async(announce)(run.pk)
    third = await socket.receive()
    assert points_in(third) == [1, 2, 3] and "data-afresh" in third
    await sync_to_async(Run.objects.filter(pk=run.pk).update)(state="succeeded")
    await sync_to_async(announce)(run.pk)
    assert "succeeded" in await socket.receive()
    closing = await socket.receive_output(5)
    assert (closing["type"], closing["code"]) == ("websocket.close", 1000)


def reads_of_metrics(queries: CaptureQueriesContext) -> int:
    """How often all rows of a run were read."""
    return sum('"values"' in q["sql"] and '"sequence" >' not in q["sql"] for q in queries.captured_queries)


def test_a_live_page_reads_each_figure_once_and_another_curve_brings_another_column(project):
    run = make_run(project)
    under_way(run)
    add_metrics(run, *({"score": float(i)} for i in range(50)))
    live = consumers.RunPage(scope={"url_route": {"kwargs": {"run_id": run.pk}}, "user": AnonymousUser()})
    live.scope, live.query = {"url_route": {"kwargs": {"run_id": run.pk}}, "user": AnonymousUser()}, {"tab": "charts"}
    assert live.open()
    with CaptureQueriesContext(connection) as first:
        assert points_in(live.updates()[0]) == list(range(1, 51))
    assert reads_of_metrics(first) == 1
    add_metrics(run, {"score": 50.0}, begin=51)
    with CaptureQueriesContext(connection) as second:
        html = live.updates()[0]
    assert points_in(html) == [51] and reads_of_metrics(second) == 0
    assert html.count("<tr>") == 1
    add_metrics(run, {"score": 51.0, "kl": 0.5}, begin=52)
    html = live.updates()[0]
    assert points_in(html) == [52] and 'id="run-main-table" hx-swap-oob="true"' in html
    assert html.count('<td class="n">51</td>') == 2, "the step and its score, once in the new table"
    assert live.updates() == ("", False)


def test_a_long_table_that_grew_is_thinned_anew(project, monkeypatch):
    monkeypatch.setattr(consumers, "_MOST_APPENDED", 2)
    run = make_run(project)
    live = consumers.RunPage()
    live.scope, live.query = {"url_route": {"kwargs": {"run_id": run.pk}}, "user": AnonymousUser()}, {"tab": "charts"}
    live.open()
    whole = []
    for i in range(1, 7):
        add_metrics(run, {"score": float(i)}, begin=i)
        whole.append('id="run-main-table"' in live.updates()[0])
    assert whole == [True, False, False, False, True, False]


def test_what_is_measured_seldom_is_not_thinned_away():
    rows = [(i, {"loss": 1.0}) if i % 100 else (i, {"loss": 1.0, "validation_loss": 2.0}) for i in range(5000)]
    kept = curves.thinned(rows, 120)
    assert sum("validation_loss" in values for _, values in kept) == 50 and len(kept) == 170
    assert kept == sorted(kept, key=lambda row: row[0]) and kept[-1] == rows[-1]


def test_the_line_below_the_bar_has_what_one_asks_first(project):
    run = make_run(project, state="running", step=5, total_steps=50)
    last = {"loss": 2.31456, "tokens_per_second": 1520.4, "grad_norm": 0.3}
    told = progress.progress(run, [Attempt(number=1, memory_bytes=2_100_000_000)], last, timezone.now())
    assert told == "Step 5 of 50 · loss 2.315 · 1,520 tokens/s · 2.1 GB"


@pytest.mark.parametrize(
    ("phase", "left"), [("training", "20 s left"), ("measuring the parent", "20 s left in this phase")]
)
def test_the_time_left_says_when_it_is_of_one_phase_alone(project, phase, left):
    now = timezone.now()
    run = make_run(project, state="running", step=5, total_steps=50, phase=phase, ends_at=now + timedelta(seconds=20))
    assert progress.progress(run, [], {}, now).split(" · ")[-1] == left


def test_standard_figures_have_words_for_people():
    standard = ("loss", "validation_loss", "perplexity", "bits_per_byte", "learning_rate", "grad_norm",
                "tokens_per_second", "peak_memory_gb", "seconds")  # fmt: skip
    found = {c.name: c for c in curves.curves([(1, dict.fromkeys(standard, 1.0))], {})}
    assert all("_" not in c.title for c in found.values()) and found["loss"].is_main
    assert found["peak_memory_gb"].title == "Peak memory, GB" and not found["grad_norm"].is_main


def test_thousands_of_samples_show_their_ends(project):
    run = make_run(project)
    prompt = [{"role": "user", "content": "Why are there tides?"}]
    Sample.objects.bulk_create(
        Sample(run=run, sequence=i, step=i, prompt=prompt, completion=f"answer {i}") for i in range(1, 1001)
    )
    [one] = run_samples.sampled_prompts(run)
    assert [answer.pieces[-1].text for answer in (one.first, one.now)] == ["1", "1000"]
    assert len(run_samples.steps_of(run)) == 12 and run_samples.steps_of(run)[-1] == 1000


def test_without_javascript_the_curves_are_pictures(client, project):
    run = make_run(project)
    add_metrics(run, {"loss": 2.0}, {"loss": 1.0})
    match = re.search(r"<noscript><div[^>]*>(<figure.*?)</noscript>", page(client, run), re.S)
    assert "<figcaption>Loss</figcaption><svg" in match[1]


def test_without_javascript_the_address_smooths_and_chooses_the_scale(client, project):
    run = make_run(project, kind="reward")
    add_metrics(run, *({"loss": 2.0 + i % 2, "cv_nll": 0.5, "accuracy": 0.6} for i in range(9)), {"score": 0.53})
    text = page(client, run, "charts", smooth=5, log=1)
    assert '<option value="5" selected>' in text and 'name="log" value="1" checked' in text
    pictures = dict(re.findall(r"<figcaption>([^<]*)</figcaption>(.*?)</figure>", text, re.S))
    assert "One point: 0.53 at step 9." in pictures["Score"] and "<svg" not in pictures["Score"]
    assert pictures["Loss"].count("</polyline>") == 2, "pale as measured, and smoothed"
    dots = pictures["Loss of each candidate, cross-validated"]
    assert dots.count("<circle") == 9 and "polyline" not in dots.split("<circle", 1)[1]
    assert ">0</text>" in pictures["Accuracy on held-out pairs"], "a share, whatever the scale"
    assert page(client, run, "charts", smooth="many", log="") and '"smooth": 0' in page(client, run, "charts", smooth=7)


@pytest.mark.parametrize(("role", "may"), [("annotator", False), ("reviewer", False), ("researcher", True)])
def test_the_overview_says_what_came_of_it_and_what_to_do_next(client, project, role, may):
    child = make_weights(name="the-child")
    run = make_run(project, state="succeeded", output_model=child)
    add_metrics(run, {"loss": 2.9}, {"loss": 2.31})
    client.force_login(make_user(project, role=role))
    text = page(client, run)
    assert "The training loss fell from 2.9 to 2.31." in text
    reward = f"{reverse('new-run', args=[project.slug, 'reward'])}?parent={child.pk}"
    entry = reverse("arena-entry", args=[project.slug, child.pk])
    for address in (reward, reverse("playground", args=[child.pk]), f"?like={run.pk}", entry):
        assert (address in text) is may, address
    make_contestant(project, child)
    text = page(client, run)
    assert "Vote in the arena" in text and entry not in text


@pytest.mark.parametrize("tab", run_tabs.TITLES)
def test_each_tab_shows_its_part_alone_and_a_wrong_one_the_overview(client, project, researcher, tab):
    run = make_run(project, kind="ppo")
    text = page(client, run, tab)
    marks = {"overview": "run-facts", "charts": "chart-options", "samples": "run-samples", "log": "run-log"}
    assert [name for name, mark in marks.items() if f'id="{mark}"' in text] == ([tab] if tab in marks else [])
    assert text.count('aria-current="page">') >= 1 and f"/ws/runs/{run.pk}/?tab={tab}" in text
    assert 'id="run-facts"' in page(client, run, "nonsense")
    assert 'id="run-facts"' in page(client, make_run(project), "review"), "nobody reviews this kind"


def test_options_that_differ_from_their_defaults_come_first(client, project, researcher):
    run = make_run(project, kind="sample", config={"temperature": 0.3, "max_new_tokens": 64})
    text = page(client, run, "config")
    chosen, _, rest = text.partition("at their defaults</summary>")
    assert "temperature" in chosen and "temperature" not in rest


def test_every_kind_stands_under_its_stage_with_one_line(client, project, researcher):
    project.from_scratch = True
    project.save()
    text = client.get(reverse("choose-kind", args=[project.slug])).content.decode()
    for kind in KINDS.values():
        assert f'{reverse("new-run", args=[project.slug, kind.name])}">{kind.title}</a>' in text, kind.name
    named = [kind.name for stage in stages.stages() for kind in stage.kinds]
    assert sorted(named) == sorted(KINDS) and len(set(named)) == len(named)
    assert [s.title for s in stages.stages(["ppo", "corpus"])] == ["Data", "Policy"]


def test_the_list_filters_by_the_kinds_that_there_are(client, project):
    make_run(project)
    make_run(project, kind="sample")
    text = client.get(reverse("runs", args=[project.slug])).content.decode()
    assert "?kind=sample" in text and "?kind=ppo" not in text


def test_a_kind_brings_a_page_and_a_form_of_its_own(client, project, researcher, tmp_path, settings):
    folder = tmp_path / "training" / "runs" / "kinds"
    folder.mkdir(parents=True)
    (folder / "fake.html").write_text("<p>{{ own }} of {{ run.name }}</p>")
    (folder / "fake_form.html").write_text("<p>{{ form.kind.name }}: {{ hint }}</p>")
    [engine] = settings.TEMPLATES
    settings.TEMPLATES = [{**engine, "DIRS": [tmp_path, *engine["DIRS"]]}]
    figure = kind_sections.RunSection("fake", lambda run: {"own": f"figure {run.pk}", "run": None})
    hint = kind_sections.FormSection("fake", lambda form: {"hint": form.project.name})
    run = make_run(project)
    with (
        kind_sections.RUN_SECTIONS.holding(figure, keeps_registered=True),
        kind_sections.FORM_SECTIONS.holding(hint, keeps_registered=True),
    ):
        assert f"<p>figure {run.pk} of {run.name}</p>" in page(client, run)
        form = client.get(reverse("new-run", args=[project.slug, "fake"])).content.decode()
        assert f"<p>fake: {project.name}</p>" in form
        assert "<p>figure" not in page(client, make_run(project, kind="sample"))


@pytest.mark.django_db(transaction=True)
async def test_a_reconnected_page_sees_no_gap_and_no_repeat():
    run = await sync_to_async(make_run)()
    await sync_to_async(add_metrics)(run, {"score": 1.0}, {"score": 2.0}, {"score": 3.0})
    second = await run.metrics.aget(sequence=2)
    socket = Socket(run, query=f"tab=charts&after=2.{second.pk}")
    await socket.connect()
    message = await socket.receive()
    assert points_in(message) == [3] and "data-afresh" not in message
    await socket.disconnect()
    stale = Socket(run, query="after=2.999999")
    await stale.connect()
    message = await stale.receive()
    assert points_in(message) == [1, 2, 3] and "data-afresh" in message
    await stale.disconnect()


@pytest.mark.django_db(transaction=True)
async def test_the_list_is_live_too():
    run = await sync_to_async(make_run)(name="one")
    project = await sync_to_async(lambda: run.project)()
    socket = Socket(None, path=f"/ws/p/{project.slug}/runs/", query="kind=fake&page=1")
    await socket.connect()
    assert "queued" in await socket.receive()
    await sync_to_async(Run.objects.filter(pk=run.pk).update)(state="failed", reason="No weights.")
    assert "No weights." in await socket.receive()
    await socket.disconnect()


@pytest.mark.django_db(transaction=True)
async def test_a_stranger_gets_nothing_live():
    project = await sync_to_async(make_project)(is_public=False)
    run = await sync_to_async(make_run)(project)
    socket = Socket(run)
    await socket.connect()
    closing = await socket.receive_output(5)
    assert (closing["type"], closing["code"]) == ("websocket.close", 4403)


@pytest.mark.django_db(transaction=True)
async def test_a_live_page_that_breaks_off_is_told_to_connect_again(monkeypatch):
    monkeypatch.setattr(live_pages, "_SLOW_TIMER_SECONDS", 0.5)  # with Redis nothing but the timer tells of a deletion
    run = await sync_to_async(make_run)()
    socket = Socket(run)
    await socket.connect()
    await socket.receive()
    await sync_to_async(run.delete)()
    closing = await socket.receive_output(5)
    assert (closing["type"], closing["code"]) == ("websocket.close", 1011)


def test_numbers_and_durations_are_rounded_to_what_they_mean():
    assert [curves.number(v) for v in (0, 3, 0.12345, -1.5, 123456.7, 2e-4, None, float("nan"))] == [
        "0", "3", "0.1235", "−1.5", "123457", "2.00e-04", "–", "–",
    ]  # fmt: skip
    assert [progress.duration(s) for s in (5, 360, 7500, 4 * 86400)] == ["5 s", "6 min", "2 h 5 min", "4 d 0 h"]


def test_a_long_table_is_thinned_and_keeps_its_last_step():
    rows = [(i, {"score": float(i)}) for i in range(1000)]
    shown = curves.table(rows, curves.curves(rows, {}))
    assert len(shown) == 120 and shown[0][0] == 0 and shown[-1] == (999, ["999"])
