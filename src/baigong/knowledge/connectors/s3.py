"""Objects of an S3 bucket, Amazon's or any that speaks its protocol.

Keys come from where Amazon's own tools look: the environment (AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL, AWS_SKIP_SIGNATURE=true for a public bucket),
what `aws configure` wrote, or the machine's role. They are held for as long as the source is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from configparser import ConfigParser
from configparser import Error as ConfigParserError
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from baigong.errors import BaigongError, InvalidInput, NotFound, Problem, Unreachable
from baigong.knowledge.connectors.skipped import (
    MAX_DOCUMENT_BYTES,
    TOO_LARGE,
    is_hidden,
    readable,
)
from baigong.knowledge.connectors.source import Content, Entry, Gone, Listing
from baigong.knowledge.formats import Unreadable
from baigong.store.buckets import is_plain_http

if TYPE_CHECKING:
    from obstore.store import S3Config

# Any of these says by itself how to sign.
_SAID = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SKIP_SIGNATURE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)


class Bucket:
    """All objects below a prefix, or a single object."""

    forgets = True

    def __init__(self, url: str) -> None:
        """`url` is `s3://bucket/prefix`; the prefix ends where a folder would."""
        told = re.fullmatch(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/+(.*))?", url)
        if told is None:
            raise InvalidInput(
                f"'{re.sub('//[^/]*@', '//', url)}' is not an address of objects.",
                hint="Write s3://bucket/prefix; keys belong into the environment.",
                param="sources",
            )
        self._bucket, self._prefix = told[1], (told[2] or "").rstrip("/")
        with _errors(self.name):
            self._store = S3Store(
                self._bucket,
                config=_profile(),
                client_options={"allow_http": is_plain_http()},
                retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=60)},
            )

    @property
    def name(self) -> str:
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def list(self) -> Listing:
        """All objects of kinds that we read, by name.

        Raises:
            InvalidInput: the bucket refuses our keys.
            NotFound: there is no such bucket.
            Unreachable: it does not answer.
        """
        with _errors(self.name):
            found = dict(sorted(self._objects()))
        names, problems = readable(name for name in found if not is_hidden(name))
        entries = []
        for name in names:
            if found[name]["size"] > MAX_DOCUMENT_BYTES:
                problems.append(Problem(name, None, "", TOO_LARGE))
            else:
                entries.append(Entry(name, _stamp(found[name]), found[name]["size"]))
        return Listing(tuple(entries), tuple(problems))

    def read(self, entry: Entry, stamp: str | None) -> Content | None:
        """An object as it is now."""
        try:
            with _errors(self.name):
                answer = obstore.get(self._store, self._key(entry.path))
                if _stamp(answer.meta) == stamp:
                    return None
                if answer.meta["size"] > MAX_DOCUMENT_BYTES:
                    raise Unreadable(TOO_LARGE)
                return Content(bytes(answer.bytes()), stamp=_stamp(answer.meta))
        except NotFound as error:
            raise Gone("is no longer there.") from error
        except BaigongError as error:
            raise Unreadable(str(error)) from error

    def _objects(self) -> Iterator[tuple[str, obstore.ObjectMeta]]:
        """(name, what is told of it), page by page."""
        is_empty = True
        for page in obstore.list(self._store, self._prefix or None):
            for told in page:
                is_empty = False
                yield told["path"].removeprefix(self._prefix).lstrip("/"), told
        if is_empty and self._prefix:
            told = obstore.head(self._store, self._prefix)
            yield self._prefix.rpartition("/")[2], told

    def _key(self, name: str) -> str:
        if self._prefix.rpartition("/")[2] == name:
            try:
                obstore.head(self._store, self._prefix)
            except FileNotFoundError:
                pass
            else:
                return self._prefix
        return f"{self._prefix}/{name}" if self._prefix else name


def _profile() -> S3Config:
    """Keys and region of a profile, unless the environment says where the keys are."""
    if any(name in os.environ for name in _SAID):
        return {}
    profile = os.environ.get("AWS_PROFILE", "default")
    section = profile if profile == "default" else f"profile {profile}"
    told = _section("AWS_CONFIG_FILE", "~/.aws/config", section)
    told |= _section("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials", profile)
    config: S3Config = {}
    if "aws_access_key_id" in told and "aws_secret_access_key" in told:
        config["access_key_id"] = told["aws_access_key_id"]
        config["secret_access_key"] = told["aws_secret_access_key"]
        if "aws_session_token" in told:
            config["session_token"] = told["aws_session_token"]
    if "region" in told and not {"AWS_REGION", "AWS_DEFAULT_REGION"} & set(os.environ):
        config["region"] = told["region"]
    return config


def _section(variable: str, usual: str, section: str) -> dict[str, str]:
    """The lines of one section of a file; none where there is no such file or section."""
    path = Path(os.environ.get(variable, usual)).expanduser()
    told = ConfigParser(interpolation=None, strict=False)
    try:
        told.read(path, "utf-8")
    except (ConfigParserError, UnicodeDecodeError):  # which quote the line
        raise InvalidInput(
            f"{path} is not a file of profiles as 'aws configure' writes it.",
            hint="Mend it, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
            param="sources",
        ) from None
    return dict(told[section]) if told.has_section(section) else {}


def _stamp(told: obstore.ObjectMeta) -> str:
    return told["e_tag"] or f"{told['size']}-{told['last_modified'].isoformat()}"


@contextmanager
def _errors(name: str) -> Iterator[None]:
    """The library's errors as ours, and not in their chain: they quote what should not be logged."""
    try:
        yield
    except FileNotFoundError:
        raise _missing(name) from None
    except (PermissionDeniedError, UnauthenticatedError, PermissionError):
        raise _closed(name) from None
    except (BaseError, OSError) as error:
        told = str(error)
        if "NoSuchBucket" in told:
            raise _missing(name) from None
        if re.search(r"status code: 40[13]|InvalidAccessKeyId|SignatureDoesNotMatch", told):
            raise _closed(name) from None
        status = re.search(r"status code: (\d{3})", told)
        raise Unreachable(
            f"{name} could not be asked" + (f": status {status[1]}." if status else "."),
            hint="Check AWS_REGION, AWS_ENDPOINT_URL, the keys and the network, and try again.",
        ) from None


def _missing(name: str) -> NotFound:
    return NotFound(
        f"There is nothing at {name}.",
        hint="Check bucket and prefix, and AWS_ENDPOINT_URL if it is not at Amazon.",
        param="sources",
    )


def _closed(name: str) -> InvalidInput:
    return InvalidInput(
        f"{name} may not be read with the keys that are set.",
        hint="Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_SKIP_SIGNATURE=true for a "
        "public bucket.",
        param="sources",
    )
