"""Many do the same at once: what is decided by looking first comes out as if they took turns."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from baigong.errors import BaigongError, Conflict
from baigong.hub.access import Actor
from baigong.hub.admissions import Admissions
from baigong.hub.commits import Put, Ref, Words
from baigong.hub.discussions import Discussions
from baigong.hub.hub import Hub
from baigong.hub.repositories import Settings
from baigong.industry.aliases import Aliases
from baigong.industry.releases import Releases
from baigong.jobs import Jobs
from baigong.knowledge.bases import KnowledgeBases
from baigong.knowledge.stores.lance import LanceStores
from baigong.store.leases import lease, place
from baigong.store.secret import Secret
from tests.industry.test_releases import CONTENT, PASSED

pytestmark = pytest.mark.postgres

MANY = 8
SAID = Words("Change", "alice")


@pytest.fixture
def hub(database, blobs, tmp_path):
    return Hub(database, blobs, tmp_path / "cache")


@pytest.fixture
def one(hub):
    settings = Settings(gated="manual")
    return hub.repositories.create("model", "alice/tiny", [], SAID, settings=settings)


def at_once(do):
    """What `do(n)` gives, for each n; an error of ours is told by its class."""
    ready = Barrier(MANY)

    def begin(n):
        ready.wait(30)
        try:
            return do(n)
        except BaigongError as error:
            return type(error)

    with ThreadPoolExecutor(MANY) as pool:
        return list(pool.map(begin, range(MANY)))


def test_every_like_counts_once(hub, one):
    at_once(lambda n: hub.repositories.like(one, f"user{n // 2}"))
    assert hub.repositories.find("model", "alice/tiny").likes == MANY // 2


def test_commits_to_one_branch_follow_each_other(hub, one):
    at_once(lambda n: hub.commits.commit(one.id, [Put(f"f{n}", hub.keep(b"same"))], SAID))
    log = hub.commits.log(one.id, hub.commits.resolve(one.id))
    assert [commit.number for commit in log] == list(range(MANY + 1, 0, -1))


def test_commits_of_the_same_pages_wait_for_each_other_in_one_order(hub):
    made = [hub.repositories.create("model", f"alice/{n}", [], SAID) for n in range(MANY)]
    changes = [Put(f"{folder}/f", hub.keep(b"%d" % folder)) for folder in range(40)]
    at_once(lambda n: hub.commits.commit(made[n].id, changes[:: 1 if n % 2 else -1], SAID))
    contents = {hub.commits.resolve(each.id).digest for each in made}
    assert len(contents) == 1


def test_a_name_is_taken_once(hub, one):
    def create(n):
        return hub.repositories.create("model", f"bob/{'Same' if n % 2 else 'same'}", [], SAID)

    assert at_once(create).count(Conflict) == MANY - 1
    at = hub.commits.resolve(one.id).id
    tags = at_once(lambda n: hub.commits.refer(one.id, Ref("tag", "v1", at)))
    assert tags.count(Conflict) == MANY - 1
    groups = at_once(lambda n: hub.namespaces.create_organisation("acme"))
    assert groups.count(Conflict) == MANY - 1
    assert at_once(lambda n: hub.namespaces.ensure_user("bob")) == [None] * MANY


def test_discussions_have_numbers_of_their_own(database, hub, one):
    discussions = Discussions(database, hub.commits)
    made = at_once(lambda n: discussions.open(one, Actor(f"user{n}"), "Title", "Text"))
    assert sorted(each.number for each in made) == list(range(1, MANY + 1))


def test_asking_again_at_once_is_asking_once(database, hub, one):
    admissions = Admissions(database)
    assert at_once(lambda n: admissions.ask(one, "bob")) == ["pending"] * MANY
    assert [each.user for each in admissions.all(one, "pending")] == ["bob"]
    admissions.decide(one, "bob", "accepted")
    assert admissions.ask(one, "bob") == "accepted"


def test_releases_are_numbered_one_after_the_other(database, tmp_path):
    releases = Releases(database, Secret(tmp_path))
    made = at_once(lambda n: releases.create("a", f"job{n // 2}", CONTENT, {}, PASSED))
    assert sorted({each.number for each in made}) == list(range(1, MANY // 2 + 1))
    at_once(lambda n: releases.promote(made[n].ref, "test"))
    assert list(releases.live()) == ["a"]


def test_a_job_is_begun_once(database):
    jobs = Jobs(database)
    assert len({job.id for job in at_once(lambda n: jobs.open("build", "a", "d", {}))}) == 1


def test_an_alias_stands_for_what_was_put_last(database):
    aliases = Aliases(database)
    at_once(lambda n: aliases.put("ft:a", release=f"a@{n}"))
    assert len(aliases.releases()) == 1


def test_a_knowledge_base_is_made_once(database, blobs, tmp_path):
    bases = KnowledgeBases(database, blobs, LanceStores(str(tmp_path / "vectors")))
    made = at_once(lambda n: bases.ensure("handbook", None))
    assert len({base.generation for base in made}) == 1


def test_of_many_who_want_a_lease_one_has_it(database):
    all_tried = Barrier(MANY)

    def hold(n):
        try:
            with lease(database, "garbage"):
                all_tried.wait(30)
        except Conflict:
            all_tried.wait(30)
            raise

    assert sorted(map(str, at_once(hold))) == sorted(map(str, [None] + [Conflict] * (MANY - 1)))


def test_places_in_a_line_are_all_different(database):
    all_in = Barrier(MANY)

    def stand(n):
        with place(database, "gpu", f"build {n}") as before:
            all_in.wait(30)
            found = len(before())
            all_in.wait(30)
            return found

    assert sorted(at_once(stand)) == list(range(MANY))
