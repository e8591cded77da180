from __future__ import annotations

from collections.abc import Iterator

import pytest

from baigong.knowledge.connectors.fetch import Fetcher
from tests.knowledge.connectors.site import HOST, WebSite


@pytest.fixture
def site() -> Iterator[WebSite]:
    with WebSite().open() as site:
        yield site


@pytest.fixture
def fetcher() -> Fetcher:
    return Fetcher((HOST,), delay_s=0)
