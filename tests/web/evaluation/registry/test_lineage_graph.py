"""The picture of a lineage: every arrow leads to the right, no two boxes share a place, and all of it is links."""

from __future__ import annotations

import itertools
import re

import pytest
from django.conf import settings
from django.urls import reverse

from annotate.models import Dataset, LanguageModel, Span
from evaluation.registry import lineage_graph
from tests.support import factories
from tests.support.evaluation.chains import Chain, make_chain, make_dataset, make_run

pytestmark = pytest.mark.django_db


@pytest.fixture
def chain(project) -> Chain:
    return make_chain(project)


@pytest.fixture
def reader(project):
    return factories.make_user(project, role="researcher")


def boxes(graph: lineage_graph.Graph) -> dict[str, lineage_graph.Box]:
    return {box.entry.model.name: box for box in graph.boxes}


def test_it_holds_ancestors_rewards_and_descendants_with_the_one_marked(chain, reader):
    graph = lineage_graph.of_model(chain.sft, reader)
    assert set(boxes(graph)) == {"bytes", "heron", "heron-sft", "heron-judge", "heron-ppo"}
    assert [box.entry.model for box in graph.boxes if box.is_current] == [chain.sft]
    assert [arrow.label for arrow in graph.arrows if arrow.is_reward] == [
        "heron-judge is the reward model of heron-ppo"
    ]
    assert len(graph.arrows) == 5


def test_what_was_made_later_lies_to_the_right(chain, reader):
    places = boxes(lineage_graph.of_model(chain.ppo, reader))
    order = ["bytes", "heron", "heron-sft", "heron-judge", "heron-ppo"]
    assert [places[name].x for name in order] == sorted({places[name].x for name in order})


def test_the_way_to_the_model_is_one_row(chain, reader):
    places = boxes(lineage_graph.of_model(chain.ppo, reader))
    assert len({places[name].y for name in ("bytes", "heron", "heron-sft", "heron-ppo")}) == 1
    assert places["heron-judge"].y > places["heron-ppo"].y


def test_no_two_boxes_lie_upon_each_other_and_no_arrow_crosses_one(chain, reader):
    """Arrows over several layers keep a lane; the straight parts of a path are its lanes."""
    for n in range(5):
        factories.make_model(name=f"child-{n}", parent=chain.pretrained)
    graph = lineage_graph.of_model(chain.ppo, reader)
    for a, b in itertools.combinations(graph.boxes, 2):
        assert abs(a.x - b.x) >= lineage_graph.BOX_WIDTH or abs(a.y - b.y) >= lineage_graph.BOX_HEIGHT
    for arrow in graph.arrows:
        for y, end in re.findall(r" (\d+) H(\d+)", arrow.path):
            middle = int(end) - lineage_graph.BOX_WIDTH // 2
            inside = [
                b for b in graph.boxes if b.x < middle < b.x + lineage_graph.BOX_WIDTH and b.y <= int(y) <= b.y + 74
            ]
            assert not inside


def test_data_and_votes_stand_below_the_name(chain, reader):
    places = boxes(lineage_graph.of_model(chain.ppo, reader))
    assert places["heron-judge"].lines == ("votes of July", "14 annotations")
    assert places["bytes"].lines == ("the shelf",)


def test_marked_spans_are_annotations_too(project, reader, client):
    """A reward model learns what is wrong with a part of an answer from them alone."""
    answer = factories.make_completion(factories.make_prompt(project), "No, it is green.")
    span = Span.objects.create(
        project=project, prompt=answer.prompt, completion=answer, start=0, end=2, label="untrue", text="No",
        author=reader, judge="person",
    )  # fmt: skip
    dataset = make_dataset(project, "spans of July", "preferences", judge="person")
    dataset.spans.add(span)
    judge = factories.make_model(name="span-judge", kind="reward")
    make_run("reward", judge, project, dataset=dataset)
    assert boxes(lineage_graph.of_model(judge, reader))["span-judge"].lines == ("spans of July", "1 annotation")
    client.force_login(reader)
    page = client.get(reverse("lineage", args=[judge.pk])).content.decode()
    assert "1 spans</a> of 1 person" in page and "nobody here annotated it" not in page


def test_names_and_datasets_are_cut_to_the_width_of_their_box(chain, reader):
    """In DejaVu Sans, which is wide: 0.67 em a letter in bold, 0.54 em else; 10 pixels stay free on each side."""
    chain.sft.name = "SmolLM2-135M-Instruct"
    chain.sft.save()
    Dataset.objects.filter(kind="preferences").update(name="annotations of everybody here")
    css = (settings.BASE_DIR / "static" / "evaluation" / "registry" / "models.css").read_text(encoding="utf-8")
    name, line = (float(re.search(rf"\.{part} {{[^}}]*font-size: (\d+)px", css)[1]) for part in ("name", "small"))
    for box in lineage_graph.of_model(chain.sft, reader).boxes:
        assert len(box.name) * 0.67 * name <= lineage_graph.BOX_WIDTH - 20, box.name
        assert all(len(text) * 0.54 * line <= lineage_graph.BOX_WIDTH - 20 for text in box.lines), box.lines


def test_the_picture_takes_as_many_queries_for_many_children_as_for_few(chain, reader, django_assert_max_num_queries):
    for n in range(20):
        child = factories.make_model(name=f"child-{n}", parent=chain.ppo)
        make_run("sft", child, chain.project, dataset=chain.votes)
    with django_assert_max_num_queries(25):
        graph = lineage_graph.of_model(chain.ppo, reader)
    assert boxes(graph)["child-3"].lines == ("votes of July", "14 annotations")


def test_many_descendants_are_cut_off_and_counted(chain, reader):
    for n in range(lineage_graph.MOST_DESCENDANTS + 6):
        factories.make_model(name=f"child-{n}", parent=chain.ppo)
    graph = lineage_graph.of_model(chain.ppo, reader)
    assert graph.left_out == 6
    assert len(graph.boxes) == 5 + lineage_graph.MOST_DESCENDANTS


def test_a_circle_of_parents_still_has_a_picture(chain, reader):
    chain.tokenizer.parent = chain.ppo
    chain.tokenizer.save()
    graph = lineage_graph.of_model(chain.ppo, reader)
    assert len(graph.boxes) == 5
    assert 0 < len(graph.arrows) < 6  # what leads back is left out


def test_what_was_made_in_a_project_that_one_may_not_read_has_no_data(chain):
    secret = factories.make_project(is_public=False)
    hidden = LanguageModel.objects.create(name="hidden", folder="models/hidden", parent=chain.ppo)
    make_run("sft", hidden, secret)
    visitor = factories.make_user()
    assert "hidden" not in boxes(lineage_graph.of_model(chain.ppo, visitor))
    run = chain.sft.made_by
    run.project = secret
    run.save()
    assert boxes(lineage_graph.of_model(chain.ppo, visitor))["heron-sft"].lines == ()


def test_every_box_is_a_link_and_a_table_says_the_same(client, chain):
    page = client.get(reverse("model", args=[chain.ppo.pk])).content.decode()
    figure = page[page.index('<figure class="graph">') : page.index("</figure>")]
    svg, table = figure.split("</svg>")
    for model in (chain.tokenizer, chain.pretrained, chain.sft, chain.reward, chain.ppo):
        assert f'href="{reverse("model", args=[model.pk])}"' in svg and f">{model.name}</a>" in table
    assert svg.count('aria-current="page"') == 1
    assert '<figure class="graph">' in client.get(reverse("lineage", args=[chain.ppo.pk])).content.decode()
