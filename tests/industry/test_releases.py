import pytest

from baigong.errors import InvalidInput, NotFound, Refused
from baigong.industry.releases import Content, Releases
from baigong.store.secret import Secret

pytestmark = pytest.mark.postgres

CONTENT = Content(
    task="classification",
    base="baigong/sapling@0",
    adapter=None,
    method="lora",
    persona=None,
    knowledge=None,
    knowledge_version=None,
    embedder=None,
    passages=0,
    max_tokens=8,
    temperature=0.0,
    title={},
    description={},
    answer_schema=None,
    labels=(),
    lineage={},
)
PASSED = {"passed": True, "sentence": {"en": "better", "zh": "更好"}}
REFUSED = {"passed": False, "sentence": {"en": "worse by 0.2", "zh": "差"}}


@pytest.fixture
def releases(database, tmp_path):
    return Releases(database, Secret(tmp_path))


def test_numbers_count_up_by_name(releases):
    refs = [releases.create(n, j, CONTENT, {}, PASSED).ref for n, j in ("a1", "a2", "b3")]
    assert refs == ["a@1", "a@2", "b@1"]


def test_the_same_job_gives_the_same_release(releases):
    assert releases.create("a", "j", CONTENT, {}, PASSED) == releases.create(
        "a", "j", CONTENT, {}, PASSED
    )


def test_promote_moves_the_pointer_and_rollback_moves_it_back(releases):
    for job in "12":
        releases.promote(releases.create("a", job, CONTENT, {}, PASSED).ref, "test")
    assert releases.get("a").number == 2
    assert releases.rollback("a") == (2, 1)
    assert releases.get("a").number == 1


def test_rolling_back_twice_goes_further_back_and_then_says_there_is_nothing(releases):
    for job in "123":
        releases.promote(releases.create("a", job, CONTENT, {}, PASSED).ref, "test")
    assert releases.rollback("a") == (3, 2)
    assert releases.rollback("a") == (2, 1)
    with pytest.raises(NotFound, match="Nothing was live before"):
        releases.rollback("a")


def test_a_refused_release_cannot_be_promoted_and_says_why(releases):
    releases.promote(releases.create("a", "1", CONTENT, {}, PASSED).ref, "test")
    with pytest.raises(Refused, match="worse by"):
        releases.promote(releases.create("a", "2", CONTENT, {}, REFUSED).ref, "test")
    assert releases.get("a").number == 1


def test_unknown_names_get_near_ones(releases):
    releases.promote(releases.create("support", "1", CONTENT, {}, PASSED).ref, "test")
    with pytest.raises(NotFound, match="support"):
        releases.get("suport")
    with pytest.raises(InvalidInput):
        releases.get("support@one")


def test_the_signature_covers_content_report_and_verdict(releases):
    one = releases.create("a", "1", CONTENT, {"n": 1}, PASSED)
    two = releases.create("a", "2", CONTENT, {"n": 2}, PASSED)
    assert one.digest != two.digest
    releases._key.public_key().verify(bytes.fromhex(one.signature), bytes.fromhex(one.digest))
