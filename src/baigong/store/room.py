"""A full disk, told in one way whoever noticed it."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from baigong.errors import StorageFull

_CODES = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# As Rust libraries print those codes, as SQLite says it, and as buckets do.
_WORDS = re.compile(
    r"os error (28|122|27)\b|No space left|disk is full|disk I/O error|QuotaExceeded|StorageFull"
    r"|Not enough space",
    re.IGNORECASE,
)


@contextmanager
def room_for(what: str) -> Iterator[None]:
    """Run the block; where it found no room, say so. Everything else passes through untouched.

    Raises:
        StorageFull: the disk or the quota is used up, or a bucket refuses more.
    """
    try:
        yield
    except StorageFull:
        raise
    except Exception as error:
        if not is_full(error):
            raise
        raise StorageFull(
            f"There is no room left to store {what}.",
            hint="Free some space and run the same command again; nothing finished is lost.",
        ) from error


def is_full(error: BaseException) -> bool:
    """Whether an error of any library means that the disk is full."""
    if isinstance(error, OSError) and error.errno in _CODES:
        return True
    return bool(_WORDS.search(str(error)))
