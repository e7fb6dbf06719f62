"""A model's card: everything in it is read from the records, and what it must not tell is not in it."""

from __future__ import annotations

import pytest
import yaml
from django.urls import reverse

from annotate.core.permissions import projects_where
from annotate.models import LanguageModel, Project
from annotate.templatetags.markdown import markdown as as_html
from evaluation.models import Evaluation
from evaluation.registry import model_card
from tests.support import factories
from tests.support.api_client import Program
from tests.support.evaluation.chains import Chain, make_chain, make_run

pytestmark = pytest.mark.django_db


@pytest.fixture
def chain(project) -> Chain:
    return make_chain(project)


def card(model: LanguageModel) -> str:
    return model_card.body(model, readable=Project.objects.all())


def section(text: str, title: str) -> str:
    return text.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]


def test_the_lineage_holds_every_model_that_went_into_it_in_order(chain):
    lineage = section(card(chain.ppo), "Lineage")
    places = [lineage.index(f"| {name} |") for name in ("bytes", "heron", "heron-sft", "heron-judge", "heron-ppo")]
    assert places == sorted(places)
    assert "heron-sft, with the reward model heron-judge" in lineage


def test_a_judgement_in_two_datasets_of_the_lineage_counts_once(chain):
    judgements = section(card(chain.ppo), "Annotations")
    assert "10 comparisons by 2 people (1 no longer counts)" in judgements
    assert "4 ratings by 1 person" in judgements


def test_a_model_before_the_votes_has_none_behind_it(chain):
    assert "None: neither the model" in section(card(chain.pretrained), "Annotations")


def test_data_is_named_with_kind_counts_judge_and_hash(chain):
    data = section(card(chain.ppo), "Data")
    row = next(line for line in data.splitlines() if "votes of July" in line)
    assert "preferences" in row and "10 comparisons" in row and "people" in row and chain.votes.content_hash[:12] in row
    assert "4,123 documents" in data


def test_options_that_were_chosen_come_before_those_left_alone(chain):
    training = section(card(chain.ppo), "Training")
    assert training.index("| `kl_coef` | `0.07` |") < training.index("Defaults:")
    assert "seed 11" in training and "`abc1234`" in training
    assert "`steps=" in training.split("Defaults:")[1]


def test_what_people_chose_at_a_pause_is_told_without_their_names(chain):
    run = chain.ppo.made_by
    run.amendments = [{"step": 7, "choice": "on", "changes": {"kl_coef": 0.2}, "by": "rita"}]
    run.save()
    training = section(card(chain.ppo), "Training")
    assert "- At its pause in step 7, people chose: `kl_coef=0.2`." in training and "rita" not in training


def test_figures_of_the_run_stand_beside_the_parents(chain):
    run = chain.ppo.made_by
    run.result = {"parent": {"kl": 0.0}, "final": {"kl": 3.25}, "hash": "ab", "held_out": {"accuracy": {"value": 0.71}}}
    run.save()
    figures = section(card(chain.ppo), "Figures")
    assert "| 0 | 3.25 |" in figures and "| held out: accuracy | 0.71 |" in figures and "hash" not in figures


def test_figures_carry_interval_n_and_signature_and_only_the_latest_of_each(chain):
    for value in (2.0, 1.5):
        Evaluation.objects.create(
            project=chain.project, model=chain.ppo, metric="bits per byte", value=value, lower=value - 0.1,
            upper=value + 0.1, n=80, task="tales", signature="perplexity 1; run 6",
        )  # fmt: skip
    rows = [line for line in section(card(chain.ppo), "Figures").splitlines() if "bits per byte" in line]
    assert rows == ["| tales | bits per byte | 1.5 | 1.4 to 1.6 | 80 | perplexity 1; run 6 |"]


def test_the_rating_comes_with_its_interval_and_battles(chain, vote):
    vote(chain.ppo, chain.sft, n=6)
    vote(chain.ppo, chain.sft, "model_b", n=3)
    arena = section(card(chain.ppo), "Arena")
    assert "95 % interval" in arena and "9 battles with votes of people" in arena


def test_cost_is_told_of_the_run_and_of_the_lineage(chain):
    cost = section(card(chain.ppo), "Cost")
    assert "Its own run: 10 min of CPU, 5 min of wall-clock time" in cost
    assert "With the 5 runs of its lineage: 50 min of CPU" in cost


def test_limits_follow_from_the_records(chain):
    limits = section(card(chain.ppo), "Limitations")
    assert "only 14 annotations of people" in limits
    assert "trained to raise a score" in limits
    assert "1 of these annotations no longer counts" in limits
    assert "It has no figures on texts outside" in limits
    assert "simulated" not in limits
    assert "raise a score" not in section(card(chain.sft), "Limitations")


def test_simulated_annotators_are_called_so(chain):
    chain.votes.comparisons.update(judge="simulation")
    chain.votes.ratings.update(judge="simulation")
    text = card(chain.ppo)
    assert "10 comparisons by 2 simulated annotators" in text
    assert "Its annotators were simulated" in section(text, "Limitations")


def test_an_ancestor_under_another_licence_is_told(chain):
    chain.pretrained.licence = "cc-by-nc-4.0"
    chain.pretrained.save()
    licence = section(card(chain.ppo), "Licence")
    assert "apache-2.0." in licence and "- heron (a source): cc-by-nc-4.0" in licence


def test_what_lies_in_a_project_that_the_reader_may_not_read_is_left_out(chain):
    secret = factories.make_project(is_public=False, name="Secret")
    run = chain.sft.made_by
    run.project = secret
    run.save()
    person = factories.make_user()
    text = model_card.body(chain.ppo, readable=projects_where(person, "read"))
    assert "best answers" not in text and f"run {run.pk}," not in text
    assert "a run elsewhere" in text and "projects that this card cannot show" in text


def test_names_cannot_write_markdown_or_html(chain):
    chain.sft.name = "x](http://evil) | <b>bold</b> `code` *so*"
    chain.sft.save()
    html = as_html(card(chain.ppo))
    assert "http://evil" not in html.replace("x](http://evil)", "") and "<b>" not in html
    assert "<em>so</em>" not in html
    row = next(line for line in section(card(chain.ppo), "Lineage").splitlines() if "bold" in line)
    assert row.replace("\\|", "").count("|") == 6


def test_the_readme_begins_with_what_a_hub_reads(chain):
    text = model_card.markdown(chain.ppo, readable=Project.objects.all())
    _, front, rest = text.split("---\n", 2)
    facts = yaml.safe_load(front)
    assert facts == {
        "base_model": "heron-sft", "license": "apache-2.0", "pipeline_tag": "text-generation", "tags": ["assay", "ppo"],
    }  # fmt: skip
    assert rest.lstrip().startswith("# heron-ppo\n")


@pytest.mark.parametrize(
    ("licence", "facts"),
    [
        ("MIT", {"license": "mit"}),
        ("My own, ask", {"license": "other", "license_name": "my-own-ask"}),
        ("", {}),
    ],
)
def test_a_hub_takes_its_front_matter(chain, licence, facts):
    chain.ppo.licence, chain.ppo.stage = licence, "PPO: 2"
    chain.sft.name = "A name: no repository's"
    chain.sft.save()
    chain.ppo.save()
    chain.ppo.refresh_from_db()
    front = yaml.safe_load(model_card.markdown(chain.ppo, readable=Project.objects.all()).split("---\n")[1])
    assert front == {"tags": ["assay", "ppo-2"], "pipeline_tag": "text-generation", **facts}


def test_no_path_and_no_person_is_in_it(chain, settings):
    chain.tokenizer.origin = f"{settings.DATA_DIR}/uploads/secret.txt"
    chain.tokenizer.save()
    make_run("classify", None, chain.project, parent=chain.ppo)
    for judge in chain.votes.comparisons.values_list("author__username", flat=True):
        assert judge not in card(chain.ppo)
    assert str(settings.DATA_DIR) not in card(chain.ppo)


def test_the_address_of_an_endpoint_is_for_those_who_manage_it(client, project):
    address = "http://10.1.2.3:8000/v1"
    base = factories.make_model(name="remote", endpoint=address, served_name="x", origin=address)
    child = factories.make_model(name="child", parent=base)
    make_run("sft", child, project, parent=base)
    lineage = client.get(reverse("lineage", args=[child.pk])).content.decode()
    row = Program(factories.make_user(project)).get(f"models/{base.pk}/").json()
    assert "an endpoint" in card(child) and "from an endpoint" in lineage and row["origin"] == "an endpoint"
    assert not any("10.1.2.3" in text for text in (card(child), lineage, str(row)))
    LanguageModel.objects.filter(pk=base.pk).update(origin="https://hub.example/models/base")
    child.refresh_from_db()
    assert "https://hub.example/models/base" in card(child)


def test_a_circle_of_parents_ends(chain):
    chain.tokenizer.parent = chain.ppo
    chain.tokenizer.save()
    assert "| heron-ppo |" in card(chain.ppo)


def test_figures_on_two_tasks_are_two_figures_and_one_signature_is_written_once(chain):
    for task, metric in (("tales", "perplexity"), ("tales", "word perplexity"), ("news", "perplexity")):
        told = {"metric": metric, "task": task, "signature": f"{task}; run 6"}
        Evaluation.objects.create(project=chain.project, model=chain.ppo, value=3.0, n=80, **told)
    rows = [line for line in section(card(chain.ppo), "Figures").splitlines() if "perplexity" in line]
    assert rows == [
        "| news | perplexity | 3 | not known | 80 | news; run 6 |",
        "| tales | perplexity | 3 | not known | 80 | tales; run 6 |",
        "| tales | word perplexity | 3 | not known | 80 | as above |",
    ]
