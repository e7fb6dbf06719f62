"""The list of the API's operations: each has a line of its own under a group of the map."""

from __future__ import annotations

import pytest
from drf_spectacular.generators import SchemaGenerator

from config.api_summaries import PREFIX, SUMMARIES
from training import configs


@pytest.fixture(scope="module")
def operations() -> dict[str, dict]:
    paths = SchemaGenerator().get_schema(request=None, public=True)["paths"]
    return {
        f"{method.upper()} {path.removeprefix(PREFIX)}": operation
        for path, of_path in paths.items()
        for method, operation in of_path.items()
    }


def test_each_operation_has_a_summary_and_each_summary_an_operation(operations):
    lines = {key: (group, summary) for group, of_group in SUMMARIES.items() for key, summary in of_group.items()}
    assert operations.keys() == lines.keys()
    for key, (group, summary) in lines.items():
        assert (operations[key]["tags"], operations[key]["summary"]) == ([group], summary)


def test_summaries_are_short_and_tell_operations_apart():
    summaries = [summary for of_group in SUMMARIES.values() for summary in of_group.values()]
    assert len(summaries) == len(set(summaries)) == sum(map(len, SUMMARIES.values()))
    assert all(len(summary) <= 60 and not summary.endswith(".") for summary in summaries)


@pytest.mark.django_db
def test_the_page_leads_back_and_loads_no_foreign_file(client):
    page = client.get("/api/docs/").content.decode()
    assert 'href="/"' in page and "api_docs.js" in page
    assert "http://" not in page and "https://" not in page


def test_the_options_of_a_run_stand_in_the_schema_in_the_groups_of_its_form():
    schema = SchemaGenerator().get_schema(request=None, public=True)
    described = schema["components"]["schemas"]["NewRun"]["properties"]["config"]["description"]
    ours = [kind for kind, config in configs.CONFIGS.items() if not config.__module__.startswith("tests.")]
    assert not [kind for kind in ours if f"**{kind}**" not in described]
    assert "- *Human review*\n    - `review_every` (" in described
