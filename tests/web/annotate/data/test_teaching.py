"""What a model may learn from among pairs whose conversations went apart: nothing, though files keep them."""

from __future__ import annotations

import pytest

from annotate.data.exports.feedback_items import Selection
from annotate.data.formats.items import NewComparison
from annotate.models import Comparison
from tests.support import factories

pytestmark = pytest.mark.django_db
LATER = [{"role": "user", "content": "And then?"}, {"role": "assistant", "content": "Nothing."}]


@pytest.mark.parametrize("name", ["later_a", "later_b"])
def test_an_imported_vote_on_what_followed_teaches_nothing_and_is_exported(name):
    project = factories.make_project()
    apart = factories.make_comparison(*factories.make_pair(project), extra={"format": "lmarena", name: LATER})
    alike = factories.make_comparison(*factories.make_pair(project), extra={"format": "lmarena"})
    assert list(Comparison.objects.teaching()) == [alike]
    assert set(Selection(project).rows(NewComparison)) == {apart, alike}
