"""A build takes no documents out of a knowledge base that others put there."""

from __future__ import annotations

from pathlib import Path

import pytest

from baigong.errors import Conflict
from baigong.industry.build import build
from baigong.industry.recipe import load_recipe
from baigong.knowledge.connectors.folder import Folder
from tests.industry.trade import Quiet, make_trade, open_platform
from tests.knowledge.bases import sync

pytestmark = pytest.mark.anyio


class Begun(Exception):
    """The build was let through."""


class Stopping(Quiet):
    def started(self, step: str) -> None:
        raise Begun(step)


async def test_others_documents_are_not_replaced_and_earlier_builds_are(tmp_path: Path) -> None:
    recipe = load_recipe(make_trade(tmp_path / "trade"))
    wiki = tmp_path / "wiki"
    wiki.mkdir()
    (wiki / "page.md").write_text("# Kettles\n\nThey whistle.")
    platform = open_platform(tmp_path / "home")
    try:
        sync(platform.knowledge, "desk", [wiki])
        with pytest.raises(Conflict, match="wiki") as refused:
            await build(platform.workshop, recipe, Quiet())
        assert "from: desk" in refused.value.hint
        assert refused.value.param == "knowledge.sources"
        assert platform.knowledge.get("desk").documents == 1
        assert platform.jobs.recent() == []
        platform.jobs.open("build", "desk", "earlier", {"sources": [Folder(wiki).name]})
        with pytest.raises(Begun):
            await build(platform.workshop, recipe, Stopping())
    finally:
        await platform.close()
