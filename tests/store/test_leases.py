import subprocess
import sys
import time

import pytest

from baigong.errors import Conflict
from baigong.store.leases import lease, place

pytestmark = pytest.mark.postgres

HOLD = """
import sys, time
from baigong.store.database import Database
from baigong.store.leases import lease
with lease(Database(sys.argv[1]), "build a"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(database):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, database.url], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_resource_held_by_another_process_is_a_conflict_that_names_it(database, holder):
    with pytest.raises(Conflict, match=str(holder.pid)), lease(database, "build a"):
        pass


def test_other_resources_stay_free(database, holder):
    with lease(database, "build b"):
        pass


def test_a_killed_holder_does_not_block_the_next_one(database, holder):
    holder.kill()
    holder.wait()
    with lease(database, "build a"):
        pass


def test_a_lease_is_renewed_while_it_is_held(database):
    with lease(database, "build a", seconds=0.3):
        time.sleep(0.6)
        with pytest.raises(Conflict), lease(database, "build a"):
            pass


def test_a_released_lease_can_be_taken_again(database):
    for _ in range(2):
        with lease(database, "build a"):
            pass


IN_LINE = (
    HOLD
    .replace("import lease\n", "import place\n")
    .replace('"build a"):', '"gpu", "build a"):')
    .replace("with lease(", "with place(")
)


def test_the_line_moves_on_when_its_first_is_killed(database):
    first = subprocess.Popen(
        [sys.executable, "-c", IN_LINE, database.url], stdout=subprocess.PIPE, text=True
    )
    assert first.stdout is not None and first.stdout.readline() == "held\n"
    with place(database, "gpu", "build b") as before, place(database, "gpu", "build c") as behind:
        assert before() == ["build a"]
        assert behind() == ["build a", "build b"]
        first.kill()
        first.wait()
        first.stdout.close()
        assert before() == []
        assert behind() == ["build b"]
    with place(database, "gpu", "build d") as before:
        assert before() == []
