import subprocess
import sys
import threading

import pytest

from baigong.hub import counting
from baigong.hub.commits import Words
from baigong.hub.hub import Hub

pytestmark = pytest.mark.postgres

# Counts from 32 threads, then says goodbye (or is killed before it can).
WRITER = """
import os, signal, sys, threading, time
from pathlib import Path
from baigong.hub.hub import Hub
from baigong.store.blobs import Blobs
from baigong.store.database import Database

folder, url, end = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
hub = Hub(Database(url), Blobs(str(folder / "blobs")), folder / "cache")
ids = [one.id for one in hub.repositories.all()]
def write():
    for _ in range(100):
        for id in ids:
            hub.counting.count(id)
        time.sleep(0.002)
threads = [threading.Thread(target=write) for _ in range(32)]
for thread in threads: thread.start()
for thread in threads: thread.join()
if end == "killed":
    time.sleep(4 * 0.25)
    hub.counting.count(ids[0])
    os.kill(os.getpid(), signal.SIGKILL)
hub.counting.close()
"""


@pytest.fixture
def hub(database, blobs, tmp_path):
    return Hub(database, blobs, tmp_path / "cache")


@pytest.fixture
def ids(hub):
    said = Words("Begin", "alice")
    made = [hub.repositories.create("model", f"alice/{n}", [], said) for n in range(3)]
    return [one.id for one in made]


def downloads(hub):
    return {one.id: one.downloads for one in hub.repositories.all()}


def test_nothing_is_lost_between_64_writers_in_two_processes(hub, ids, database, tmp_path):
    arguments = [sys.executable, "-c", WRITER, str(tmp_path), database.url]
    writers = [subprocess.Popen([*arguments, end]) for end in ("closed", "killed")]
    for _ in range(50):
        hub.counting.count(ids[0])
        hub.repositories.like(hub.repositories.find("model", "alice/0"), "carol")
    assert [writer.wait(timeout=60) for writer in writers] == [0, -9]
    hub.counting.close()
    found = downloads(hub)
    # The one that was killed may have had its last download written by then, and no other is missing.
    assert found.pop(ids[0]) in {2 * 3200 + 50, 2 * 3200 + 51}
    assert found == dict.fromkeys(ids[1:], 2 * 3200)


def test_what_is_counted_is_written_soon_without_being_asked(hub, ids):
    hub.counting.count(ids[1])
    waited = threading.Event()
    for _ in range(100):
        if downloads(hub)[ids[1]] or waited.wait(0.05):
            break
    assert downloads(hub)[ids[1]] == 1


def test_a_database_that_refuses_for_a_while_costs_no_download(hub, ids, database, monkeypatch):
    monkeypatch.setattr(counting, "EVERY_S", 0.01)
    with database.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE repositories RENAME TO elsewhere")
    for _ in range(10):
        hub.counting.count(ids[2])
        threading.Event().wait(0.02)
    with database.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO repositories")
    hub.counting.close()
    assert downloads(hub)[ids[2]] == 10


def test_counting_goes_on_after_a_close(hub, ids):
    for _ in range(2):
        hub.counting.count(ids[0])
        hub.counting.close()
    assert downloads(hub)[ids[0]] == 2
