"""PandaLM's three annotators: alpha and agreement in the product equal what other tools make of the file itself."""

import hashlib
import itertools
import json
import os
from pathlib import Path

import pytest

from annotate.data.imports.actions import Order, start_import
from annotate.models import Comparison, Completion, Prompt
from common.splits import text_hash
from evaluation.annotator_quality.findings import computed
from evaluation.annotator_quality.loading import rows_of
from tests.support.annotate.importing import carry_out
from tests.support.factories import make_project, make_user

PANDALM = Path(os.environ.get("SHARED_DATA", "../shared/data")) / "pandalm-testset-v1.json"
GOLDEN = json.loads((Path(__file__).parents[4] / "tests/support/golden/agreement.json").read_text())["pandalm"]
WINNER = {"1": "model_a", "2": "model_b", "0": "tie"}
JUDGES = ("annotator1", "annotator2", "annotator3")

pytestmark = pytest.mark.skipif(not PANDALM.exists(), reason="needs PandaLM's test set; set SHARED_DATA to its folder")


@pytest.fixture
def found(db):
    assert hashlib.sha256(PANDALM.read_bytes()).hexdigest() == GOLDEN["sha256"], "another file than the golden one"
    items = json.loads(PANDALM.read_text())
    project = make_project()
    importer = make_user(project, role="manager")
    # Its items are told apart by number: some ask the same again.
    asked = [[{"role": "user", "content": f"{i['idx']}. {i['instruction']}\n{i['input']}"}] for i in items]
    prompts = Prompt.objects.bulk_create(
        Prompt(project=project, messages=messages, text_hash=text_hash(messages), side="train") for messages in asked
    )
    answers = Completion.objects.bulk_create(
        Completion(prompt=prompt, text=item[side])
        for prompt, item in zip(prompts, items, strict=True)
        for side in ("response1", "response2")
    )
    Comparison.objects.bulk_create(
        Comparison(
            project=project,
            prompt=prompt,
            completion_a=a,
            completion_b=b,
            winner=WINNER[str(item[name])],
            author=importer,
            judge="person",
            source="pandalm",
            source_judge=name,
        )
        for (prompt, item, (a, b)), name in itertools.product(
            zip(prompts, items, zip(answers[::2], answers[1::2], strict=True), strict=True),
            JUDGES,
        )
    )
    return computed(rows_of(project, "person"))


def test_alpha_is_that_of_krippendorff_and_nltk(found):
    (scale,) = found.scales
    assert (scale.alpha.units, scale.alpha.judgements, scale.alpha.judges) == (999, 2997, 3)
    assert scale.alpha.value == pytest.approx(GOLDEN["nominal"], abs=1e-12)
    assert scale.alpha.value == pytest.approx(GOLDEN["nltk_nominal"], abs=1e-12)
    assert scale.alpha.lower < scale.alpha.value < scale.alpha.upper


def test_agreement_of_each_two_is_that_of_the_reference(found):
    assert [judge.name for judge in found.judges] == list(JUDGES)
    pairs = [pair for _, pair in found.pairs]
    assert [(p.first + 1, p.second + 1) for p in pairs] == [tuple(pair["judges"]) for pair in GOLDEN["pairs"]]
    for pair, expected in zip(pairs, GOLDEN["pairs"], strict=True):
        assert (pair.agreed, pair.n) == (expected["agreed"], expected["n"])
        kappa, error = expected["kappa"]
        assert pair.kappa == pytest.approx(kappa, abs=1e-9)
        assert pair.kappa_upper - pair.kappa_lower == pytest.approx(2 * 1.959964 * error, abs=1e-6)


def test_three_careful_people_are_not_worth_a_look(found):
    assert not any(judge.is_flagged for judge in found.judges)


def test_the_same_through_an_import_of_the_file(db):
    project = make_project()
    by = make_user(project, role="researcher")
    with PANDALM.open("rb") as file:
        made = start_import(project=project, file=file, file_name=PANDALM.name, order=Order(source="pandalm"), by=by)
    carry_out(made)
    assert made.format == "pandalm" and made.counts["comparisons"] == 2997 and made.counts["bad"] == 0
    found = computed(rows_of(project, "person"))
    (scale,) = found.scales
    assert scale.alpha.value == pytest.approx(GOLDEN["nominal"], abs=1e-12)
    assert [pair.agreed for _, pair in found.pairs] == [pair["agreed"] for pair in GOLDEN["pairs"]]
    assert [pair.kappa for _, pair in found.pairs] == pytest.approx([pair["kappa"][0] for pair in GOLDEN["pairs"]])
