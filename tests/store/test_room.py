import errno
import sqlite3

import pytest

from baigong.errors import InvalidInput, StorageFull
from baigong.store.room import room_for


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError("lance error: LanceError(IO): No space left on device (os error 28)"),
        RuntimeError("lance error: LanceError(IO): File too large (os error 27), writer.rs:258:9"),
        RuntimeError("Disk quota exceeded (os error 122)"),
        sqlite3.OperationalError("database or disk is full"),
    ],
)
def test_a_full_disk_is_storage_full_whoever_says_it(error):
    with pytest.raises(StorageFull, match="room left to store a file"), room_for("a file"):
        raise error


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EACCES, "no"),
        RuntimeError("No such file (os error 2)"),
        KeyError("x"),
        InvalidInput("y"),
    ],
)
def test_other_errors_pass_through_untouched(error):
    with pytest.raises(type(error)) as caught, room_for("a file"):
        raise error
    assert caught.value is error
