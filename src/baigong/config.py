"""Settings: read once from the environment, checked, frozen, and passed down."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from baigong.errors import InvalidInput

PREFIX = "BAIGONG_"


class Settings(BaseSettings):
    """Every setting, its environment variable being its name in capitals after `BAIGONG_`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    home: Path = Field(
        default_factory=lambda: Path.home() / ".baigong", description="the one folder to back up"
    )
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(7860, ge=0, le=65535, description="port to listen on; 0 picks a free one")
    threads: int = Field(
        0, ge=0, le=1024, description="compute threads; 0 means one for each physical core"
    )
    dtype: Literal["auto", "float32", "bfloat16", "int8", "int4"] = Field(
        "auto", description="what weights are computed in"
    )
    engine: Literal["own", "vllm"] = Field(
        "own", description="what serves models on this machine: the engine within, or `vllm serve`"
    )
    context: int = Field(
        0, ge=0, description="most tokens of prompt and answer; 0 is what a model was made for"
    )
    max_batch: int = Field(32, ge=1, le=4096, description="sequences in one running batch")
    cache_mb: int = Field(1024, ge=16, description="memory for the KV cache of one engine, MiB")
    adapter_mb: int = Field(
        512, ge=1, description="memory for the adapters of one engine, MiB; more take turns in it"
    )
    idle_minutes: float = Field(
        60, ge=0, description="minutes after which an unused model leaves memory; 0 keeps it there"
    )
    max_adapters: int = Field(8, ge=1, description="adapters in one step of vLLM")
    max_rank: Literal[8, 16, 32, 64, 128, 256, 320, 512] = Field(
        64, description="the largest rank of an adapter that vLLM makes room for"
    )
    private_hosts: tuple[str, ...] = Field(
        (), description="hosts inside this network that sources may be read from, as a JSON list"
    )
    mirrors: tuple[str, ...] = Field(
        (),
        description="hubs that names which are not here are looked up in, as a JSON list: hf, "
        "modelscope, hf+https://..., modelscope+https://...",
    )
    public_hub: bool = Field(
        False, description="whether what is public in the hub is read and listed without a key"
    )
    source_places: tuple[str, ...] = Field(
        (),
        description="folders and s3:// prefixes that callers over HTTP may have read into "
        "knowledge bases, as a JSON list",
    )
    database_url: str = Field("", description="SQLAlchemy URL; empty means SQLite in the home")
    blobs_url: str = Field("", description="folder or s3:// URL; empty means `blobs/` in the home")
    vectors_url: str = Field(
        "",
        description="folder or s3:// URL for LanceDB, or qdrant:FOLDER for Qdrant in one process; "
        "empty means LanceDB in `vectors/` in the home",
    )
    vectors_mb: int = Field(
        512,
        ge=0,
        description="memory for chunks of knowledge bases in LanceDB, MiB; larger ones are searched "
        "by their index alone",
    )

    @property
    def jobs_folder(self) -> Path:
        return self.home / "jobs"

    @property
    def logs_folder(self) -> Path:
        return self.home / "logs"

    @property
    def sources_folder(self) -> Path:
        """What connectors fetched before, and may fetch again."""
        return self.cache_folder / "sources"

    @property
    def upstreams_file(self) -> Path:
        return self.home / "upstreams.yaml"

    @property
    def cache_folder(self) -> Path:
        """What can be made again from blobs: checked-out models and adapters."""
        return self.home / "cache"

    @classmethod
    def load(cls, **overrides: object) -> Settings:
        """Settings from the environment, flags winning.

        Raises:
            InvalidInput: an unknown BAIGONG_ variable, or a value that is not allowed.
        """
        given = {key.removeprefix(PREFIX).lower() for key in os.environ if key.startswith(PREFIX)}
        unknown = sorted(given - set(cls.model_fields))
        if unknown:
            raise InvalidInput(
                f"Unknown setting {PREFIX}{unknown[0].upper()} in the environment.",
                hint=f"Known: {', '.join(PREFIX + name.upper() for name in cls.model_fields)}.",
            )
        try:
            return cls(**{k: v for k, v in overrides.items() if v is not None})  # type: ignore[arg-type]
        except ValidationError as error:
            lines = [
                f"{PREFIX}{'.'.join(str(p) for p in e['loc']).upper()} = {e['input']!r}: {e['msg']}"
                for e in error.errors()
            ]
            raise InvalidInput("; ".join(lines) + ".", hint="Mend the setting.") from error
