"""How near a saved model is to the trained one is said on the run's page, on the card, and by the API."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from django.db.models import ProtectedError
from django.test import Client
from django.urls import reverse

from annotate.core.permissions import projects_where
from annotate.models import Project
from evaluation.registry import model_card
from tests.support.api_client import program
from tests.support.factories import make_user
from tests.support.training.runs import make_dataset, make_run, make_weights
from training.models import Run
from training.runs.figures import fidelity
from training.runs.ordering import checks
from training.serving import adapter_bases
from training.storage import disk_usage

GOOD = {"cosine": 0.999984, "kl_per_token": 0.00021, "rank": 16, "bytes": 3_100_000, "shrunk": None}
GOOD |= {"dtype": "bfloat16"}


def test_what_was_kept_is_said_in_words():
    sentence = fidelity.sentence({"fidelity": GOOD})
    assert "matches the trained model" in sentence and "update is 0.99998" in sentence
    assert "0.00021 nats per token" in sentence
    assert fidelity.lines({"fidelity": GOOD})[-1] == ("Saved as", "adapter of rank 16")


def test_what_was_lost_is_said_with_what_to_do():
    sentence = fidelity.sentence({"fidelity": GOOD | {"cosine": 0.61}})
    assert "differs from the trained model" in sentence and "0.610" in sentence and "ASSAY_DTYPE=float32" in sentence


def test_a_shortened_chain_says_what_that_cost():
    shrunk = {"from_rank": 80, "lost_share": 0.0123}
    sentence = fidelity.sentence({"fidelity": GOOD | {"rank": 64, "shrunk": shrunk}})
    assert "of total rank 80, were reduced to rank 64, which cost 1.23 % of the update's norm" in sentence


def test_full_weights_name_their_dtype():
    result = {"fidelity": {"cosine": 1.0, "kl_per_token": None, "rank": None, "dtype": "float32", "shrunk": None}}
    assert ("Saved as", "full weights in float32") in fidelity.lines(result)


@pytest.mark.parametrize("result", [{}, None, {"fidelity": 1}, {"fidelity": {}}, {"fidelity": {"cosine": "1"}}])
def test_a_run_of_an_earlier_version_says_nothing(result):
    assert fidelity.lines(result) == [] and fidelity.sentence(result) == ""


@pytest.mark.django_db
class TestPages:
    @pytest.fixture
    def run(self, project: Project) -> Run:
        base = make_weights(name="the-base")
        old = make_weights(name="a-merged-child", parent=base, card={"metrics": {"steps": 3}})
        first = make_weights(name="sft-child", parent=old, card={"metrics": {"fidelity": GOOD}})
        made = make_weights(name="ppo-child", parent=first, card={"metrics": {"fidelity": GOOD | {"rank": 32}}})
        return make_run(
            project, state="succeeded", parent=first, output_model=made, result={"fidelity": GOOD, "steps": 4}
        )

    def test_the_page_of_a_run_shows_figures_and_their_meaning(self, client: Client, project, run):
        client.force_login(make_user(project, role="researcher"))
        text = client.get(reverse("run", args=[run.pk])).content.decode()
        assert "Cosine of the saved to the trained update" in text
        assert "matches the trained model" in text and "0.00021 nats per token" in text
        assert "fidelity: cosine" not in text, "once is enough"

    def test_the_api_has_the_figures_and_the_words(self, project, run):
        answer = program(project, role="researcher").get(f"runs/{run.pk}/").json()
        assert answer["result"]["fidelity"]["cosine"] == GOOD["cosine"]
        assert "matches the trained model" in answer["fidelity"]

    def test_a_card_names_the_full_weights_below_a_chain_of_adapters(self, run):
        model = run.output_model
        assert adapter_bases.described(model) == "adapter of rank 32 on a-merged-child"
        assert adapter_bases.described(model.parent.parent) == ""
        text = model_card.body(model, readable=Project.objects.all())
        assert "adapter of rank 32 on a-merged-child" in text and "matches the trained model" in text

    def test_the_page_of_a_model_says_that_it_needs_its_base(self, client: Client, project, run):
        client.force_login(user := make_user(project, role="researcher"))
        assert projects_where(user, "read").exists()
        text = client.get(reverse("model", args=[run.output_model.pk])).content.decode()
        assert "an adapter of rank 32 on a-merged-child, whose weights it needs" in text

    def test_a_retired_base_goes_on_below_its_children(self, project, run):
        """Retiring takes no file away, and what was trained on it is still trained on."""
        base = run.output_model.parent.parent
        base.retire(reason="Its children are better.")
        assert base.path.is_dir() and (base.path / "config.json").is_file()
        order = checks.check_order(
            kind="sample", project=project, name="another", parent=run.output_model, dataset=make_dataset(project),
            other_dataset=None, reward_model=None, config={}, seed=1,
        )  # fmt: skip
        assert order.kind == "sample"
        with pytest.raises(ProtectedError):
            base.delete()

    def test_the_disk_page_counts_an_adapters_own_bytes(self, run):
        base, child = run.output_model.parent.parent, run.output_model
        (base.path / "model.safetensors").write_bytes(b"x" * 1_000_000)
        (child.path / "adapter_model.safetensors").write_bytes(b"x" * 10_000)
        write_names_of(base.path, child.path)
        assert disk_usage.size_of(child.path) < 100_000 < 1_000_000 <= disk_usage.size_of(base.path)


def write_names_of(base: Path, child: Path) -> None:
    """The index names the base's files, and holds none of them."""
    names = {"weight_map": {"w": os.path.relpath(base / "model.safetensors", child)}}
    (child / "model.safetensors.index.json").write_text(json.dumps(names))
