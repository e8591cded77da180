"""A client that goes away frees its slot in the real engine."""

import asyncio

import httpx2
import openai
import pytest

from tests.servers import MODEL, settled

LONG = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4000}


def test_closing_a_stream_stops_the_generation(client, platform):
    before = settled(platform)
    stream = client.chat.completions.create(**LONG, stream=True)
    for _, _chunk in zip(range(3), stream, strict=False):
        pass
    stream.close()
    assert 3 <= settled(platform) - before < 3000


def test_giving_up_on_a_whole_answer_stops_the_generation(client, platform):
    before = settled(platform)
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.5).chat.completions.create(**LONG, n=8)
    assert settled(platform) - before < 8 * 3000


def test_giving_up_on_many_completions_stops_all_of_them(url, platform):
    before = settled(platform)
    given = {"model": MODEL, "prompt": ["a", "b", "c"], "max_tokens": 4000, "n": 8}
    with pytest.raises(httpx2.ReadTimeout):
        httpx2.post(f"{url}/v1/completions", json=given, timeout=0.5)
    assert settled(platform) - before < 8 * 9000


def test_sixteen_streams_run_side_by_side_and_each_is_whole(url):
    async def ask(client, i):
        reply = await client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": f"Question {i}"}],
            max_tokens=20,
            stream=True,
        )
        return "".join([c.choices[0].delta.content or "" async for c in reply])

    async def main():
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none") as client:
            together = await asyncio.gather(*(ask(client, i) for i in range(16)))
            alone = [await ask(client, i) for i in (0, 7, 15)]
            return together, alone

    together, alone = asyncio.run(main())
    assert [together[i] for i in (0, 7, 15)] == alone
