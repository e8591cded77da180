"""Settings → Platform: the only place that wires the parts together."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from baigong.compute import usable_cores
from baigong.config import Settings
from baigong.hub.hub import Hub
from baigong.hub.mirror.sources import read_sources
from baigong.industry.aliases import Aliases
from baigong.industry.build import Workshop
from baigong.industry.releases import Releases
from baigong.industry.serving import Serving
from baigong.inference.client import EngineConfig
from baigong.inference.engines import Engines
from baigong.inference.upstream.pool import Upstreams
from baigong.inference.upstream.settings import read_upstreams
from baigong.inference.upstream.vllm import VllmConfig, VllmEngines
from baigong.jobs import Jobs
from baigong.knowledge.bases import KnowledgeBases
from baigong.knowledge.living import Living
from baigong.knowledge.stores.lance import LanceStores
from baigong.knowledge.stores.mirror import Mirrors
from baigong.knowledge.stores.port import Stores
from baigong.knowledge.stores.qdrant import QdrantStores
from baigong.store.blobs import Blobs
from baigong.store.database import Database
from baigong.store.secret import Secret

_QDRANT = "qdrant:"


@dataclass(frozen=True, slots=True)
class Platform:
    """Every part of one installation, open."""

    settings: Settings
    database: Database
    secret: Secret
    blobs: Blobs
    hub: Hub
    jobs: Jobs
    releases: Releases
    aliases: Aliases
    knowledge: KnowledgeBases
    engines: Engines
    upstreams: Upstreams
    serving: Serving
    living: Living

    @classmethod
    def open(cls, settings: Settings) -> Platform:
        """Open the installation in `settings.home`, making and migrating what is missing."""
        home = settings.home
        database = (
            Database(settings.database_url) if settings.database_url else Database.in_folder(home)
        )
        secret = Secret(home)
        blobs = Blobs(settings.blobs_url or str(home / "blobs"))
        sources = read_sources(settings.mirrors)
        hub = Hub(database, blobs, settings.cache_folder, sources)
        releases, aliases = Releases(database, secret), Aliases(database)
        knowledge = KnowledgeBases(database, blobs, _stores(settings))
        engines = Engines(
            EngineConfig(
                dtype=settings.dtype,
                threads=settings.threads or usable_cores(),
                max_batch=settings.max_batch,
                adapter_mb=settings.adapter_mb,
                context=settings.context or None,
                cache_mb=settings.cache_mb,
                packed=settings.cache_folder / "packed",
                logs=settings.logs_folder,
            ),
            idle_s=60 * settings.idle_minutes or None,
        )
        upstreams = Upstreams(read_upstreams(settings.upstreams_file), _vllm(settings))
        serving = Serving(hub, releases, engines, knowledge, upstreams, aliases)
        return cls(
            settings=settings,
            database=database,
            secret=secret,
            blobs=blobs,
            hub=hub,
            jobs=Jobs(database),
            releases=releases,
            aliases=aliases,
            knowledge=knowledge,
            engines=engines,
            upstreams=upstreams,
            serving=serving,
            living=Living(knowledge, serving.embedders),
        )

    @property
    def workshop(self) -> Workshop:
        """What a build needs."""
        return Workshop(
            self.jobs,
            self.hub,
            self.releases,
            self.knowledge,
            self.engines,
            self.serving,
            self.settings.jobs_folder,
            self.settings.dtype,
        )

    async def close(self) -> None:
        """Write what was pushed and counted, stop the engines, let go of upstreams and of the database."""
        await self.living.close()
        await self.upstreams.close()
        await self.engines.close()
        self.hub.xorbs.close()
        await asyncio.to_thread(self.hub.counting.close)
        self.database.close()


def _stores(settings: Settings) -> Stores:
    """LanceDB below a folder or a bucket, or Qdrant's engine in a folder of this process alone."""
    url = settings.vectors_url or str(settings.home / "vectors")
    if url.startswith(_QDRANT):
        return QdrantStores(Path(url.removeprefix(_QDRANT) or settings.home / "vectors"))
    return LanceStores(url, mirrors=Mirrors(settings.vectors_mb << 20))


def _vllm(settings: Settings) -> VllmEngines | None:
    if settings.engine != "vllm":
        return None
    return VllmEngines(
        VllmConfig(
            dtype=settings.dtype,
            context=settings.context,
            max_batch=settings.max_batch,
            max_adapters=settings.max_adapters,
            max_rank=settings.max_rank,
            logs=settings.logs_folder,
        )
    )
