"""The one real site that tests/site/browser looks at and tests/site/whole/test_kills.py kills the processes of."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.sites.site import Site, filled_site


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with filled_site(tmp_path_factory.mktemp("site")) as site:
        yield site
