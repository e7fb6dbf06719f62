"""The form of a new run: six fields, groups under All options, presets, methods, and errors beside their fields."""

from __future__ import annotations

import re

import pytest
from django.urls import reverse

from annotate.models import LanguageModel
from tests.support.factories import make_completion, make_project, make_prompt, make_rating, make_user
from tests.support.training.runs import make_dataset, make_run, make_weights
from training.core.kinds import KINDS
from training.models import Run

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def researcher(client, project):
    researcher = make_user(project, role="researcher")
    client.force_login(researcher)
    return researcher


def address(project, kind: str) -> str:
    return reverse("new-run", args=[project.slug, kind])


def form_of(client, project, kind: str, **query):
    return client.get(address(project, kind), query).context["form"]


def values_of(form) -> dict[str, object]:
    fields = [*form.first_fields(), *form.advanced_fields()]
    return {field.html_name: "" if field.value() is None else field.value() for field in fields}


class TestWhatStandsAtFirst:
    def test_ppo_shows_six_fields_in_words_with_their_keys(self, client, project):
        shown = [(field.label, field.key) for field in form_of(client, project, "ppo").first_fields()]
        assert shown == [
            ("Model", "parent"), ("Reward model", "reward_model"), ("Prompts", "dataset"), ("Steps", "steps"),
            ("KL coefficient", "kl_coef"), ("Max tokens per answer", "max_new_tokens"),
        ]  # fmt: skip
        text = client.get(address(project, "ppo")).content.decode()
        assert re.search(r'<label for="id_config.kl_coef">KL coefficient <small class="key">kl_coef</small>', text)

    def test_the_others_stand_grouped_under_all_options(self, client, project):
        form = form_of(client, project, "ppo")
        groups = {group.title: [field.key for field in group.fields] for group in form.field_groups()}
        assert list(groups)[:3] == ["Run", "Data", "Model"]
        assert {"Reward", "KL", "Optimiser", "Safety", "Human review"} <= set(groups)
        assert groups["Run"] == ["name", "seed"] and "at_bound" in groups["Safety"]
        shown = {field.name for field in form.first_fields()} | {field.name for field in form.advanced_fields()}
        assert shown == set(form.fields), "nothing is lost, nothing stands twice"
        assert client.get(address(project, "ppo")).content.decode().count("<summary>All options</summary>") == 1

    @pytest.mark.parametrize("kind", ["sample", "sft", "reward", "dpo", "grpo", "corpus", "export", "label", "import"])
    def test_every_field_of_a_kind_stands_once(self, client, project, kind):
        form = form_of(client, project, kind)
        names = [field.name for field in (*form.first_fields(), *form.advanced_fields())]
        assert sorted(names) == sorted(form.fields)


class TestPresets:
    def test_a_quick_try_keeps_the_models_and_sets_the_options(self, client, project):
        parent = make_weights()
        make_weights()
        form = form_of(client, project, "sft", preset="quick", parent=parent.pk, **{"config.epochs": "9"})
        assert form["parent"].value() == str(parent.pk)
        assert (form["config.epochs"].value(), form["config.max_length"].value()) == (0.25, 128)
        plain = form_of(client, project, "sft", preset="default", **{"config.epochs": "9"})
        assert plain["config.epochs"].value() == 1.0

    def test_the_page_says_which_one_is_chosen_and_an_unknown_one_changes_nothing(self, client, project):
        text = client.get(address(project, "ppo"), {"preset": "quick"}).content.decode()
        assert re.findall(r'value="(\w+)"[^>]*aria-current', text) == ["quick"]
        assert form_of(client, project, "ppo", preset="magic")["config.steps"].value() == 12


class TestMethods:
    def test_dpo_and_kto_share_a_form_and_keep_what_was_typed(self, client, project):
        text = client.get(address(project, "dpo")).content.decode()
        assert f'formaction="{address(project, "kto")}"' in text
        assert f'formaction="{address(project, "grpo")}"' not in text
        form = form_of(client, project, "kto", sent="dpo", **{"config.beta": "0.3", "config.loss": "ipo"})
        assert form["config.beta"].value() == "0.3" and form["config.balance"].value() is True

    def test_a_box_that_is_not_ticked_stays_so(self, client, project):
        form = form_of(client, project, "kto", sent="kto", **{"config.beta": "0.3"})
        assert form["config.balance"].value() is False
        assert [kind.name for kind in form.methods()] == ["dpo", "kto"]

    def test_a_kind_that_stands_alone_offers_no_method(self, client, project):
        assert form_of(client, project, "ppo").methods() == []

    def test_the_list_of_kinds_has_one_line_for_a_form(self, client, project):
        text = client.get(reverse("choose-kind", args=[project.slug])).content.decode()
        assert re.search(r">DPO</a> or <a [^>]*>KTO</a></span>", text)
        assert re.search(r">GRPO</a> or <a [^>]*>RLOO</a></span>", text)


class TestDefaults:
    def test_ppo_begins_with_the_newest_model_that_has_a_reward_model(self, client, project):
        base = make_weights(name="base", project=project)
        scorer = make_weights(name="scorer", kind="reward", parent=base, project=project)
        make_weights(name="stranger", project=project)
        form = form_of(client, project, "ppo")
        assert (form["parent"].value(), form["reward_model"].value()) == (base.pk, scorer.pk)

    def test_never_a_model_that_another_project_made_or_registered(self, client, project):
        theirs = make_weights(name="theirs", project=make_project(), is_shared=True)
        made = make_weights(name="made there")
        other = make_project()
        make_run(other, kind="sft", output_model=made, state="succeeded", parent=None)
        make_run(project, kind="sample", parent=made)
        make_run(project, kind="sample", parent=theirs)
        LanguageModel.objects.exclude(pk__in=(theirs.pk, made.pk)).update(folder="")  # what the runs brought along
        form = form_of(client, project, "sft")
        assert {theirs, made} <= set(form.fields["parent"].queryset) and form["parent"].value() is None

    def test_prompts_are_the_newest_of_the_train_split(self, client, project):
        train = make_dataset(project)
        make_dataset(project, side="eval")
        make_dataset(make_project())
        assert form_of(client, project, "sample")["dataset"].value() == train.pk

    @pytest.mark.parametrize(
        ("kind", "dataset_kind", "counts"),
        [
            ("reward", "preferences", {"enough": False}),
            ("dpo", "preferences", {"winners": {"model_a": 2, "tie": 90}}),
            ("kto", "preferences", {"ratings": 3}),
            ("classify", "labelled", {"labels": {"good": 9}}),
        ],
    )
    def test_a_newer_dataset_that_such_a_run_would_refuse_is_not_proposed(
        self, client, project, kind, dataset_kind, counts
    ):
        older, newer = (make_dataset(project, kind=dataset_kind) for _ in range(2))
        newer.counts = counts
        newer.save()
        form = form_of(client, project, kind)
        assert form["dataset"].value() == older.pk and newer in form.fields["dataset"].queryset


class TestErrors:
    def test_all_stand_at_once_what_cannot_be_read_and_what_is_refused(self, client, project):
        values = values_of(form_of(client, project, "sample"))
        values |= {"config.temperature": "warm", "name": "", "config.top_p": "7"}
        response = client.post(address(project, "sample"), values)
        assert response.status_code == 400 and not Run.objects.exists()
        errors = response.context["form"].errors
        assert set(errors) == {"config.temperature", "config.top_p", "name", "parent", "dataset"}

    def test_an_error_stands_under_its_label_and_is_read_with_its_field(self, client, project):
        values = values_of(form_of(client, project, "sample")) | {"config.temperature": "9"}
        text = client.post(address(project, "sample"), values).content.decode()
        field = text[text.index('<label for="id_config.temperature"') :]
        field = field[: field.index("</div>")]
        assert field.index("</label>") < field.index('id="id_config.temperature_error"') < field.index("<input")
        widget = field[field.index("<input") :]
        assert 'aria-invalid="true"' in widget
        described = re.search(r'aria-describedby="([^"]*)"', widget)
        assert described and "id_config.temperature_error" in described[1].split()
        assert 'value="9"' in widget, "nothing that was typed is lost"

    def test_the_group_of_an_error_opens_and_the_first_wrong_field_has_the_focus(self, client, project):
        values = values_of(form_of(client, project, "ppo")) | {"config.gamma": "7"}
        values |= {"parent": make_weights().pk, "dataset": make_dataset(project).pk}
        text = client.post(address(project, "ppo"), values).content.decode()
        assert '<details class="all-options" open>' in text
        group = text[: text.index('for="id_config.gamma"')]
        assert group[group.rindex('<details class="option-group"') :].startswith('<details class="option-group" open>')
        assert len(re.findall(r"\sautofocus", text)) == 1
        focused = re.search(r"<(?:input|select)[^>]*autofocus[^>]*>", text)
        assert focused and 'name="reward_model"' in focused[0]

    def test_an_upper_bound_that_nobody_meets_is_not_said(self, client, project):
        values = values_of(form_of(client, project, "ppo")) | {"config.kl_coef": "-1"}
        assert "Must be at least 0, not -1.0." in client.post(address(project, "ppo"), values).content.decode()

    def test_nothing_has_the_focus_while_nothing_is_wrong(self, client, project):
        assert "autofocus" not in client.get(address(project, "ppo")).content.decode()


class TestFreezingFromTheForm:
    @pytest.fixture
    def annotated(self, project):
        for _ in range(3):
            make_rating(make_completion(make_prompt(project)))

    def test_one_click_freezes_what_is_lacking_and_comes_back(self, client, project, annotated):
        parent = make_weights()
        form = f"{address(project, 'kto')}?parent={parent.pk}"
        text = client.get(form).content.decode()
        sent = dict(re.findall(r'name="(kind|name|next)" value="([^"]*)"', text[text.index('class="empty"') :]))
        assert sent["kind"] == "preferences" and sent["next"] == form
        response = client.post(reverse("datasets", args=[project.slug]), sent)
        dataset = project.datasets.get()
        assert response.url == f"{form}&dataset={dataset.pk}" and dataset.name == sent["name"]
        begun = client.get(response.url).context["form"]
        assert (begun["dataset"].value(), begun["parent"].value()) == (str(dataset.pk), str(parent.pk))
        assert not begun.lacks()

    def test_what_came_after_the_newest_dataset_is_frozen_by_one_click_too(self, client, project, annotated):
        older = make_dataset(project, kind="preferences")
        make_weights()
        form = address(project, "kto")
        assert "were added after the newest dataset" not in client.get(form).content.decode()
        make_rating(make_completion(make_prompt(project, side="eval")))
        assert "were added after the newest dataset" not in client.get(form).content.decode()
        make_rating(make_completion(make_prompt(project)))
        text = client.get(form).content.decode()
        assert "Annotations were added after the newest dataset." in text
        sent = dict(re.findall(r'name="(kind|name|next)" value="([^"]*)"', text[text.index('class="message newer"') :]))
        assert sent["kind"] == "preferences" and sent["next"] == form
        assert sent["name"] not in ("", older.name)

    def test_nobody_is_sent_to_another_site(self, client, project, annotated):
        sent = {"kind": "preferences", "name": "d", "next": "https://example.org/"}
        response = client.post(reverse("datasets", args=[project.slug]), sent)
        assert response.url == reverse("dataset", args=[project.datasets.get().pk])


def test_the_form_of_every_kind_opens(client, project):
    for kind in KINDS:
        if kind != "evaluate":
            assert client.get(address(project, kind)).status_code == 200, kind


@pytest.mark.parametrize("kind", ["sample", "dpo", "evaluate"])
def test_an_order_with_nothing_in_it_is_refused_by_the_form(client, project, kind):
    response = client.post(address(project, kind) + ("?measure=perplexity" if kind == "evaluate" else ""))
    assert response.status_code == 400 and response.context["form"].errors
