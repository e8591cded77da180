"""A stand-in for S3 that speaks its protocol; it enters by the public door, an address."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.hub.endpoint import served

NAME = "manuals"
KEY = "AKIATESTTESTTEST"
PAGE = 2  # keys in one answer, so that even a few take several


@dataclass
class S3:
    """One bucket with its objects by key."""

    objects: dict[str, bytes] = field(default_factory=dict)
    read: list[str] = field(default_factory=list)
    pages: int = 0
    fails: bool = False
    regions: list[str] = field(default_factory=list)

    async def listing(self, request: Request) -> Response:
        if refusal := self._refusal(request):
            return refusal
        self.pages += 1
        told = request.query_params
        after = told.get("continuation-token", "")
        keys = sorted(
            key for key in self.objects if key.startswith(told.get("prefix", "")) and key > after
        )
        rows = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(self.objects[key])}</Size>"
            f"<LastModified>2026-11-25T12:00:00.000Z</LastModified>"
            f"<ETag>&quot;{self._tag(key)}&quot;</ETag></Contents>"
            for key in keys[:PAGE]
        )
        more = (
            f"<IsTruncated>true</IsTruncated><NextContinuationToken>{escape(keys[PAGE - 1])}"
            "</NextContinuationToken>"
            if len(keys) > PAGE
            else "<IsTruncated>false</IsTruncated>"
        )
        body = f"<ListBucketResult><Name>{NAME}</Name>{more}{rows}</ListBucketResult>"
        return Response(body, media_type="application/xml")

    async def object(self, request: Request) -> Response:
        if refusal := self._refusal(request):
            return refusal
        key = request.path_params["key"]
        if key not in self.objects:
            return Response("<Error><Code>NoSuchKey</Code></Error>", 404)
        if request.method == "GET":
            self.read.append(key)
        return Response(
            self.objects[key],
            headers={
                "ETag": f'"{self._tag(key)}"',
                "Last-Modified": "Wed, 25 Nov 2026 12:00:00 GMT",
            },
        )

    def _refusal(self, request: Request) -> Response | None:
        if self.fails:
            return Response("<Error><Code>Broken</Code></Error>", 400)
        if request.path_params["bucket"] != NAME:
            return Response("<Error><Code>NoSuchBucket</Code></Error>", 404)
        signed = request.headers.get("authorization", "")
        self.regions += re.findall(r"Credential=\w+/\d+/([\w-]+)/s3/", signed)
        if f"Credential={KEY}/" not in signed:
            return Response("<Error><Code>AccessDenied</Code></Error>", 403)
        return None

    def _tag(self, key: str) -> str:
        return hashlib.sha256(self.objects[key]).hexdigest()[:32]

    @contextmanager
    def open(self) -> Iterator[str]:
        with served(
            Route("/{bucket}", self.listing),
            Route("/{bucket}/{key:path}", self.object, methods=["GET", "HEAD"]),
        ) as url:
            yield url
