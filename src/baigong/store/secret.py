"""The installation's one secret, from which every other is derived by purpose."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from baigong.errors import InvalidInput


class Secret:
    """32 random bytes in a file that only its owner can read."""

    def __init__(self, home: Path) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self._bytes = _read_or_create(home / "secret.key")

    def derive(self, purpose: str) -> bytes:
        """32 bytes for one purpose; knowing them says nothing about the others."""
        return hmac.digest(self._bytes, purpose.encode(), hashlib.sha256)


def _read_or_create(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        content = path.read_bytes()
        if len(content) != 32:
            raise InvalidInput(
                f"{path.name} holds {len(content)} bytes instead of 32.",
                hint="Restore it from a backup; keys and signatures depend on it.",
            ) from None
        return content
    content = secrets.token_bytes(32)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        os.fsync(file.fileno())
    return content
