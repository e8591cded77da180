"""Pushed documents: found as soon as their caller is answered, in order, a bad one alone."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from baigong.errors import InvalidInput, NotFound, Overloaded
from baigong.knowledge import living as module
from baigong.knowledge.batch import PushedDocument, Work, write_batch
from baigong.knowledge.connectors.source import Content
from baigong.knowledge.living import Living
from baigong.knowledge.write import Writer
from tests.knowledge.bases import keep, open_bases, search
from tests.knowledge.files import HashEmbedder

pytestmark = pytest.mark.anyio


@pytest.fixture
def bases(tmp_path):
    bases = open_bases(tmp_path / "home")
    bases.ensure("notes", None)
    return bases


@pytest.fixture
async def living(bases):
    living = Living(bases, lambda name: HashEmbedder())
    yield living
    await living.close()


def note(path, text, suffix=".txt", **said):
    return PushedDocument(path, Content(text.encode(), suffix=suffix, **said))


async def found(bases, question, name="notes"):
    return [p.document for p in await asyncio.to_thread(search, bases, name, question)]


async def test_a_pushed_document_is_found_when_its_caller_is_answered(bases, living):
    done = await living.push("notes", note("a", "The valve opens at six bar."))
    assert (done.document, done.state, done.chunks) == ("a", "added", 1)
    assert await found(bases, "valve bar") == ["a"]


async def test_what_arrives_together_is_one_version_and_each_is_answered(bases, living):
    notes = [note(f"n{i}", f"Pump {i} was seen by inspector{i}.") for i in range(40)]
    done = await asyncio.gather(*[living.push("notes", each) for each in notes])
    assert [one.document for one in done] == [each.path for each in notes]
    assert bases.base("notes").head < 5
    for i in (0, 17, 39):
        assert await found(bases, f"inspector{i}") == [f"n{i}"]


async def test_the_same_path_replaces_and_the_same_content_changes_nothing(bases, living):
    await living.push("notes", note("a", "It is green."))
    changed = await living.push("notes", note("a", "It is purple."))
    head = bases.base("notes").head
    again = await living.push("notes", note("a", "It is purple."))
    assert (changed.state, again.state) == ("changed", "unchanged")
    assert bases.base("notes").head == head
    assert await found(bases, "green") == []
    assert await found(bases, "purple") == ["a"]
    said = await living.push("notes", note("a", "It is purple.", metadata={"shift": 2.0}))
    assert said.state == "changed"


async def test_of_many_with_one_path_the_last_stays(bases, living):
    work = [living.push("notes", note("a", f"State word{i}.")) for i in range(30)]
    states = {one.state for one in await asyncio.gather(*work)}
    assert states <= {"added", "changed", "overtaken"}
    assert await found(bases, "word29") == ["a"]
    assert await found(bases, "word28") == []
    assert len(bases.documents("notes")) == 1


async def test_a_page_that_is_slow_to_parse_is_not_overtaken_by_its_successor(bases, living):
    page = "<html><body><h1>Old</h1><p>An elder paragraph about turbines.</p></body></html>"
    first = asyncio.ensure_future(living.push("notes", note("a", page, ".html")))
    await asyncio.sleep(0)
    second = asyncio.ensure_future(living.push("notes", note("a", "The younger text, on rotors.")))
    await asyncio.gather(first, second)
    assert await found(bases, "rotors") == ["a"]
    assert await found(bases, "turbines") == []


async def test_a_bad_document_fails_alone(bases, living):
    keys = {f"key{i}": "x" for i in range(100)}  # more than a base may have
    outcomes = await asyncio.gather(
        living.push("notes", note("good", "A calm report on gaskets.")),
        living.push("notes", note("empty", "   ")),
        living.push("notes", note("keys", "Too many keys.", metadata=keys)),
        living.push("notes", note("torn", "%PDF-1.7 and nothing more", ".pdf")),
        living.push("notes", note("film", "frames", ".mp4")),
        living.push("notes", note("fine", "Another report, on flanges.")),
        return_exceptions=True,
    )
    bad = [type(each) for each in outcomes[1:5]]
    assert bad == [InvalidInput] * 4
    assert "empty" in str(outcomes[1]) and "key" in str(outcomes[2])
    assert await found(bases, "gaskets") == ["good"]
    assert await found(bases, "flanges") == ["fine"]


async def test_a_good_one_is_kept_where_its_successor_is_bad(bases):
    good = Work("push", "a", note("a", "All about bearings."))
    bad = Work("push", "a", note("a", " "))
    outcomes = await asyncio.to_thread(write_batch, bases, "notes", None, [good, bad])
    assert outcomes[0].state == "added" and isinstance(outcomes[1], InvalidInput)
    assert await found(bases, "bearings") == ["a"]


async def test_removing_takes_out_of_now_and_withdrawing_out_of_every_version(bases, living):
    await living.push("notes", note("a", "The secret of the boiler."))
    kept = await asyncio.to_thread(bases.pin, "notes")
    assert (await living.remove("notes", "a")).state == "removed"
    assert (await living.remove("notes", "a")).state == "absent"
    assert await found(bases, "boiler") == []
    assert await found(bases, "boiler", kept.ref) == ["a"]
    assert await living.withdraw("notes", "a") == 1
    assert await found(bases, "boiler", kept.ref) == []
    with pytest.raises(NotFound):
        await living.withdraw("notes", "a")
    await living.push("notes", note("a", "The boiler, written anew."))
    assert await found(bases, "boiler") == ["a"]


async def test_a_name_that_a_source_has_is_not_taken_from_it(bases, living, tmp_path):
    folder = tmp_path / "handbook"
    folder.mkdir()
    (folder / "a.md").write_text("# Files\n\nThe file's own words on hinges.")
    await asyncio.to_thread(keep, bases, "notes", [folder])
    done = await living.push("notes", note("a.md", "Pushed words on latches."))
    assert done.document == "push/a.md"
    assert await found(bases, "hinges") == ["a.md"]
    assert (await living.remove("notes", "a.md")).document == "push/a.md"
    assert await found(bases, "hinges") == ["a.md"]
    assert await found(bases, "latches") == []


async def test_a_base_with_vectors_is_given_them(bases, living):
    bases.ensure("near", HashEmbedder())
    await living.push("near", note("a", "zebra"))
    hits = await asyncio.to_thread(search, bases, "near", "zzz", embed=HashEmbedder())
    assert [hit.document for hit in hits] == ["a"]


async def test_too_many_at_once_are_refused_and_the_patient_wait(bases, living, monkeypatch):
    monkeypatch.setattr(module, "_QUEUE", 5)
    work = [living.push("notes", note(f"n{i}", f"number{i}")) for i in range(12)]
    outcomes = await asyncio.gather(*work, return_exceptions=True)
    refused = [each for each in outcomes if isinstance(each, Overloaded)]
    assert len(refused) == 7 and refused[0].retryable
    work = [living.push("notes", note(f"p{i}", f"figure{i}"), is_patient=True) for i in range(12)]
    assert {one.state for one in await asyncio.gather(*work)} == {"added"}
    assert await found(bases, "figure11") == ["p11"]


async def test_an_unknown_base_is_told_at_once(living):
    with pytest.raises(NotFound):
        await living.push("none", note("a", "words"))


async def test_a_lane_that_was_idle_comes_back(bases, living, monkeypatch):
    monkeypatch.setattr(module, "_IDLE_S", 0.05)
    await living.push("notes", note("a", "before the pause"))
    for _ in range(200):
        if not living._lanes:
            break
        await asyncio.sleep(0.02)
    assert not living._lanes
    await living.push("notes", note("b", "after the silence"))
    assert await found(bases, "silence") == ["b"]


async def test_what_has_expired_is_not_found_and_then_removed(bases, living):
    soon = time.time() + 0.5
    await living.push("notes", note("brief", "A fleeting notice on ladders.", expires_at=soon))
    await living.push("notes", note("lasting", "A lasting notice on ladders."))
    await asyncio.sleep(0.6)
    assert await found(bases, "ladders") == ["lasting"]
    assert len(bases.documents("notes")) == 2
    with Writer(bases, "notes", None) as writer:
        assert writer.expire(time.time()) == 1
        assert writer.expire(time.time()) == 0
    assert [one.path for one in bases.documents("notes")] == ["lasting"]
    assert bases.chunks(bases.base("notes")).count() == 1


async def test_the_sweep_takes_out_what_has_expired(bases, living):
    await living.push("notes", note("old", "Yesterday's menu.", expires_at=time.time() - 5))
    living.watch()
    for _ in range(200):
        if not bases.documents("notes"):
            break
        await asyncio.sleep(0.05)
    assert bases.documents("notes") == []


async def test_pushing_goes_on_while_chunks_are_compacted(bases, living, monkeypatch):
    monkeypatch.setattr(module, "_TEND_S", 0.0)
    for i in range(60):  # as many commits, each of which may begin to compact
        if i % 3 == 2:
            await living.push("notes", note(f"n{i - 1}", f"again marker{i}"))
        else:
            await living.push("notes", note(f"n{i}", f"first marker{i}"))
    await living.close()
    for i in (0, 2, 30, 57, 59):
        assert await found(bases, f"marker{i}"), i
    with bases.writing("notes"):  # what was replaced while chunks were compacted leaves before it
        assert bases.chunks(bases.base("notes")).count() == 40
    assert await asyncio.to_thread(Writer(bases, "notes", None).tend_aside)


async def test_what_goes_while_chunks_are_compacted_is_not_found_and_leaves_later(bases, living):
    await living.push("notes", note("a", "The elder wording of the gasket rule."))
    await living.push("notes", note("b", "A gasket list."))
    chunks = bases.chunks(bases.base("notes"))
    with bases.tended("notes"):
        await living.push("notes", note("a", "The younger wording of the gasket rule."))
        await living.remove("notes", "b")
        assert chunks.count() == 3  # nothing was taken from under whoever compacts
        for seen_from in (bases, open_bases(bases.blobs.root.parent)):
            hits = await asyncio.to_thread(search, seen_from, "notes", "gasket wording list")
            assert ["younger" in hit.text for hit in hits] == [True]
    kept = await asyncio.to_thread(bases.pin, "notes")
    assert chunks.count() == 1
    assert await found(bases, "gasket", kept.ref) == ["a"]
    await living.push("notes", note("c", "Another note."))
    assert chunks.count() == 2


KILLED = """
    import asyncio, sys
    from pathlib import Path
    from baigong.knowledge.batch import PushedDocument
    from baigong.knowledge.connectors.source import Content
    from baigong.knowledge.living import Living
    from tests.knowledge.bases import open_bases

    async def main():
        bases = open_bases(Path(sys.argv[1]))
        bases.ensure("notes", None)
        living = Living(bases, lambda name: None)

        async def push(i):
            content = Content(f"unique{i} words".encode(), suffix=".txt")
            await living.push("notes", PushedDocument(f"n{i}", content), is_patient=True)
            print(i, flush=True)

        await asyncio.gather(*map(push, range(3000)))

    asyncio.run(main())
"""


async def test_a_kill_loses_only_what_was_not_answered(tmp_path):
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{root / 'src'}:{root}"}
    child = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path / "home")],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    answered = [int(child.stdout.readline()) for _ in range(300)]
    child.send_signal(signal.SIGKILL)
    rest = child.communicate()[0].split("\n")[:-1]
    answered += map(int, rest)
    assert len(answered) < 3000
    bases = open_bases(tmp_path / "home")
    there = {one.path for one in bases.documents("notes")}
    assert {f"n{i}" for i in answered} <= there
    living = Living(bases, lambda name: None)
    await living.push("notes", note("after", "the resurrection"))
    await living.close()
    assert await found(bases, f"unique{answered[-1]}") == [f"n{answered[-1]}"]
    count = len(bases.documents("notes"))
    assert bases.chunks(bases.base("notes")).count() == count
