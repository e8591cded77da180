from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from baigong.app import Platform
from tests.servers import add_release, open_platform, serving


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Platform:
    home: Path = tmp_path_factory.mktemp("served")
    platform = open_platform(home)
    add_release(platform, home)
    return platform


@pytest.fixture(scope="session")
def url(platform: Platform) -> Iterator[str]:
    """A server with a live release; its platform must not be changed by a test."""
    with serving(platform) as found:
        yield found


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    """OpenAI's own client, which checks every answer against its own types."""
    with openai.OpenAI(
        base_url=f"{url}/v1", api_key="none", max_retries=0, _strict_response_validation=True
    ) as client:
        yield client
