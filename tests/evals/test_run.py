import asyncio
import os
import subprocess
import sys
import textwrap

import pytest

from baigong.errors import EngineUnavailable
from baigong.evals.run import predict
from baigong.types import Delta, Message, Row, Sampling

pytestmark = pytest.mark.anyio

ROWS = [Row(f"id{i}", (Message("user", f"question\u2028 {i}"),), "x") for i in range(12)]
GREEDY = Sampling(max_tokens=8)


class Echo:
    """Answers with the question, in two pieces; counts what it was asked, and how much at a time."""

    def __init__(self, *, fails_at=None, reason="stop"):
        self.asked = []
        self.busy = self.most = 0
        self.fails_at = fails_at
        self.reason = reason

    async def __call__(self, row, sampling):
        text = row.messages[-1].content
        self.asked.append(text)
        if len(self.asked) == self.fails_at:
            raise RuntimeError("out of memory")
        self.busy += 1
        self.most = max(self.most, self.busy)
        yield Delta(text[:4], 1)
        await asyncio.sleep(0)
        self.busy -= 1
        yield Delta(text[4:], 2, self.reason)


def run(generate, done, rows=ROWS, sampling=GREEDY, told=None):
    told = told if told is not None else []
    return predict(rows, generate, sampling, concurrency=3, done=done, report=told.append)


async def test_answers_come_in_the_order_of_the_rows(tmp_path):
    echo, told = Echo(), []
    found = await run(echo, tmp_path / "deep" / "done.jsonl", told=told)
    assert [p.text for p in found] == [row.messages[0].content for row in ROWS]
    assert {p.tokens for p in found} == {3}
    assert echo.most == 3
    assert (told[0].done, told[-1].done, told[-1].total) == (0, 12, 12)


async def test_a_second_run_asks_nothing(tmp_path):
    first = await run(Echo(), tmp_path / "done.jsonl")
    again = Echo()
    assert await run(again, tmp_path / "done.jsonl") == first
    assert again.asked == []


async def test_an_error_is_raised_as_it_is_and_what_was_answered_is_kept(tmp_path):
    done = tmp_path / "done.jsonl"
    with pytest.raises(RuntimeError, match="out of memory"):
        await run(Echo(fails_at=8), done)
    kept = done.read_bytes().count(b"\n")
    assert 0 < kept < 12
    again = Echo()
    assert len(await run(again, done)) == 12
    assert len(again.asked) == 12 - kept


@pytest.mark.parametrize("reason", ["abort", None])
async def test_half_an_answer_is_an_error_and_not_an_answer(tmp_path, reason):
    with pytest.raises(EngineUnavailable, match="was broken off"):
        await run(Echo(reason=reason), tmp_path / "done.jsonl")
    assert (tmp_path / "done.jsonl").read_bytes() == b""


@pytest.mark.parametrize("cut", [1, 30])
async def test_a_torn_last_line_is_asked_again(tmp_path, cut):
    done = tmp_path / "done.jsonl"
    first = await run(Echo(), done)
    done.write_bytes(done.read_bytes()[:-cut])
    again = Echo()
    found = await run(again, done)
    assert [p.text for p in found] == [p.text for p in first]
    assert len(again.asked) == 1
    assert await run(Echo(fails_at=1), done) == found


async def test_what_follows_a_damaged_line_is_asked_again(tmp_path):
    done = tmp_path / "done.jsonl"
    await run(Echo(), done)
    lines = done.read_bytes().splitlines(keepends=True)
    lines[5] = b"\0" * 40 + b"\n"
    done.write_bytes(b"".join(lines))
    again = Echo()
    await run(again, done)
    assert len(again.asked) == 7


async def test_another_prompt_or_sampling_is_another_question(tmp_path):
    done = tmp_path / "done.jsonl"
    await run(Echo(), done)
    warm, persona = Echo(), Echo()
    await run(warm, done, sampling=Sampling(max_tokens=8, temperature=1.0))
    dressed = [Row(r.id, (Message("system", "s"), *r.messages), r.answer) for r in ROWS]
    await run(persona, done, rows=dressed)
    assert (len(warm.asked), len(persona.asked)) == (12, 12)


async def test_nothing_to_ask_is_no_error(tmp_path):
    assert await run(Echo(), tmp_path / "done.jsonl", rows=[]) == []


async def test_a_cancelled_run_keeps_its_answers_and_aborts_the_rest(tmp_path):
    closed = []

    async def slow(row, sampling):
        try:
            await asyncio.sleep(
                0 if len(closed) == 0 and row.messages[-1].content.endswith(" 0") else 60
            )
            yield Delta("a", 1, "stop")
        finally:
            closed.append(row.messages[-1].content)

    task = asyncio.create_task(run(slow, tmp_path / "done.jsonl"))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (tmp_path / "done.jsonl").read_bytes().count(b"\n") == 1
    assert len(closed) == 4


def test_a_killed_evaluation_resumes_where_it_was(tmp_path):
    script = textwrap.dedent(
        """
        import asyncio, os, sys
        from pathlib import Path
        from baigong.evals.run import predict
        from baigong.types import Delta, Message, Row, Sampling

        rows = [Row(str(i), (Message("user", str(i)),), "x") for i in range(10)]
        asked = []

        async def generate(row, sampling):
            asked.append(row)
            if len(asked) == int(sys.argv[2]):
                os.kill(os.getpid(), 9)
            yield Delta("a", 1, "stop")

        asyncio.run(predict(rows, generate, Sampling(), concurrency=1, done=Path(sys.argv[1]),
                            report=lambda progress: None))
        print(len(asked))
        """
    )
    command = [sys.executable, "-c", script, str(tmp_path / "done.jsonl")]
    killed = subprocess.run([*command, "7"], check=False, env=os.environ)
    assert killed.returncode == -9
    again = subprocess.run([*command, "99"], check=True, capture_output=True, text=True)
    assert again.stdout.strip() == "4"
