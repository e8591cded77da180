"""Made-up news, in English and Chinese, that keeps coming: for demos, tests and measurements.

    python -m baigong.knowledge.demo_feed --rate 50           # serves an Atom feed that grows
    python -m baigong.knowledge.demo_feed --rate 50 --lines   # writes a line of JSON for each story

The same seed gives the same stories. Every name in them is invented.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import random
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from xml.sax.saxutils import escape

import msgspec
from typing_extensions import override

_WINDOW = 1000  # entries that the feed holds at once


class Story(msgspec.Struct, frozen=True):
    """One piece of news, and a question that only it answers.

    Attributes:
        published_at: seconds since the epoch.
        answer: stands in `text` word for word.
    """

    path: str
    title: str
    text: str
    url: str
    language: str
    published_at: float
    question: str
    answer: str

    @property
    def line(self) -> bytes:
        """The story as a line of JSON."""
        told = {
            "path": self.path,
            "title": self.title,
            "text": self.text,
            "url": self.url,
            "published_at": self.published_at,
            "metadata": {"language": self.language},
        }
        return msgspec.json.encode(told) + b"\n"


class _Desk(msgspec.Struct, frozen=True):
    """What one kind of story is written from; braces name what is drawn for it."""

    title: str
    text: str
    question: str
    answer: str


_WORDS: dict[str, dict[str, Sequence[str]]] = {
    "en": {
        "firm": ["Halden Pumps", "Orrin Foods", "Vesper Rail", "Tallow & Reed", "Kestrel Optics"],
        "town": ["Marlow Bay", "Upper Quill", "Stonebridge", "Port Ansel", "Greyfield"],
        "person": ["Ida Lorne", "Tomas Wick", "Rhea Castell", "Jonah Pell", "Mira Ashby"],
        "thing": ["heat pumps", "tram cars", "oat flour", "storage batteries", "reading lamps"],
    },
    "zh": {
        "firm": ["恒川水泵", "青禾食品", "远屏光电", "云岭轨道", "松涛家居"],
        "town": ["临港新区", "安禾镇", "石桥市", "北屿县", "清源开发区"],
        "person": ["陆知远", "沈若溪", "高明川", "许嘉言", "秦望舒"],
        "thing": ["热泵机组", "有轨电车", "燕麦粉", "储能电池", "护眼台灯"],
    },
}

_DESKS = {
    "en": (
        _Desk(
            "{firm} to build a plant in {town}",
            "{firm} will build a plant for {thing} in {town}, the company said in notice {code}. "
            "The site costs {amount} million crowns and is to open within {months} months. "
            "{person}, who leads the project, expects {jobs} new jobs.",
            "How much does the site of notice {code} cost?",
            "{amount} million crowns",
        ),
        _Desk(
            "Orders at {firm} rise by {percent} percent",
            "{firm} took {percent} percent more orders for {thing} than a year ago. In report {code} "
            "{person} puts it down to customers in {town}. The order book now holds {jobs} units, "
            "enough for {months} months of work.",
            "How many units does the order book in report {code} hold?",
            "{jobs} units",
        ),
        _Desk(
            "{firm} calls back {thing}",
            "{firm} calls back {jobs} {thing} that were sold in {town}. A connector may grow hot, "
            "says recall {code}. Owners get a repair free of charge for {months} months; {person} "
            "answers questions. The cost is put at {amount} million crowns.",
            "For how long is the repair under recall {code} free of charge?",
            "{months} months",
        ),
        _Desk(
            "{town} signs contract for {thing}",
            "The council of {town} signed contract {code} with {firm} yesterday. It covers {jobs} "
            "{thing} at {amount} million crowns. {person} signed for the council; {percent} percent "
            "of the price is due on delivery.",
            "Who signed contract {code} for the council?",
            "{person}",
        ),
        _Desk(
            "Line through {town} closed for works",
            "The line through {town} stays closed for {months} weeks while {firm} renews the track. "
            "Works order {code} names {person} as the contact. Buses run every {percent} minutes, "
            "and {jobs} passengers a day have to change.",
            "How often do buses run under works order {code}?",
            "every {percent} minutes",
        ),
    ),
    "zh": (
        _Desk(
            "{firm}将在{town}建厂",
            "{firm}在公告{code}中表示，将在{town}建设{thing}生产基地，总投资{amount}百万元，"
            "预计{months}个月内投产。项目负责人{person}介绍，基地可新增{jobs}个岗位。",
            "公告{code}中的总投资是多少？",
            "{amount}百万元",
        ),
        _Desk(
            "{firm}订单同比增长{percent}%",
            "{firm}的{thing}订单同比增长{percent}%。{person}在编号{code}的报告中说，增长主要来自{town}"
            "的客户。目前在手订单{jobs}台，可排产{months}个月。",
            "编号{code}的报告中，在手订单有多少？",
            "{jobs}台",
        ),
        _Desk(
            "{firm}召回部分{thing}",
            "{firm}宣布召回在{town}售出的{jobs}件{thing}，召回编号{code}，原因是接插件可能过热。"
            "用户可在{months}个月内免费维修，联系人{person}。此次召回预计花费{amount}百万元。",
            "召回编号{code}的免费维修期是多久？",
            "{months}个月",
        ),
        _Desk(
            "{town}签下{thing}采购合同",
            "{town}昨日与{firm}签订合同{code}，采购{thing}{jobs}件，合同金额{amount}百万元。"
            "采购方由{person}签字，{percent}%的货款在交付时支付。",
            "合同{code}的采购方由谁签字？",
            "{person}",
        ),
        _Desk(
            "{town}线路停运施工",
            "因{firm}更换轨道，途经{town}的线路停运{months}周。施工单{code}的联系人为{person}。"
            "接驳巴士每{percent}分钟一班，每日约{jobs}名乘客需要换乘。",
            "施工单{code}期间接驳巴士多久一班？",
            "每{percent}分钟一班",
        ),
    ),
}


def story(seed: int, number: int, published_at: float) -> Story:
    """The story of that number; the time is the only thing that does not follow from it."""
    draw = random.Random(f"{seed}/{number}")
    language = draw.choice(("en", "zh"))
    desk = draw.choice(_DESKS[language])
    said: dict[str, Any] = {name: draw.choice(all_) for name, all_ in _WORDS[language].items()}
    said |= {
        "code": f"{draw.choice('KLMNPRST')}{seed % 100:02d}-{number:06d}",
        "amount": draw.randint(12, 980),
        "months": draw.randint(3, 30),
        "jobs": draw.randint(40, 4000),
        "percent": draw.randint(5, 60),
    }
    path = f"news/{seed}/{number:06d}"
    return Story(
        path=path,
        title=desk.title.format_map(said),
        text=desk.text.format_map(said),
        url=f"https://news.example/{path}",
        language=language,
        published_at=published_at,
        question=desk.question.format_map(said),
        answer=desk.answer.format_map(said),
    )


def stories(seed: int, rate: float, began_at: float) -> Iterator[Story]:
    """All stories, without an end and without waiting: `rate` a second from `began_at` on."""
    for number in itertools.count():
        yield story(seed, number, began_at + number / rate)


def atom(seed: int, rate: float, began_at: float, now: float) -> bytes:
    """The feed as it is at `now`: the newest stories, the last one first."""
    count = max(0, int((now - began_at) * rate))
    numbers = range(count - 1, max(-1, count - 1 - _WINDOW), -1)
    newest = _when(began_at + max(0, count - 1) / rate)
    parts = [
        '<?xml version="1.0" encoding="utf-8"?>\n<feed xmlns="http://www.w3.org/2005/Atom">'
        f"<id>https://news.example/{seed}</id><title>Made-up news 虚构新闻</title>"
        f"<updated>{newest}</updated><author><name>demo_feed</name></author>"
    ]
    for number in numbers:
        told = story(seed, number, began_at + number / rate)
        parts.append(
            f'<entry xml:lang="{told.language}"><id>{told.url}</id><link href="{told.url}"/>'
            f"<title>{escape(told.title)}</title><updated>{_when(told.published_at)}</updated>"
            f"<published>{_when(told.published_at)}</published>"
            f'<content type="text">{escape(told.text)}</content></entry>'
        )
    return ("".join(parts) + "</feed>\n").encode()


def server(seed: int, rate: float, port: int, began_at: float) -> ThreadingHTTPServer:
    """What serves the feed at `/feed.xml` of this machine alone; not started yet."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = atom(seed, rate, began_at, time.time())
            tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
            is_same = self.headers.get("If-None-Match") == tag
            self.send_response(404 if self.path != "/feed.xml" else 304 if is_same else 200)
            self.send_header("Content-Type", "application/atom+xml; charset=utf-8")
            self.send_header("ETag", tag)
            if self.path != "/feed.xml" or is_same:
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        @override
        def log_message(self, format: str, *args: Any) -> None:
            """Nothing: what is worth saying is said at the start."""

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _write_lines(seed: int, rate: float, count: int | None) -> None:
    began_at = time.time()
    for told in itertools.islice(stories(seed, rate, began_at), count):
        time.sleep(max(0.0, told.published_at - time.time()))
        sys.stdout.buffer.write(told.line)
        sys.stdout.buffer.flush()


def main() -> None:
    about, *_ = (__doc__ or "").split("\n")
    parser = argparse.ArgumentParser(
        prog="python -m baigong.knowledge.demo_feed", description=about
    )
    parser.add_argument("--rate", type=float, default=1.0, help="stories a second")
    parser.add_argument("--seed", type=int, default=0, help="the same seed, the same stories")
    parser.add_argument("--port", type=int, default=8930, help="of the server, on this machine")
    parser.add_argument("--lines", action="store_true", help="write lines of JSON instead")
    parser.add_argument("--count", type=int, help="with --lines: end after so many")
    told = parser.parse_args()
    if told.rate <= 0:
        parser.error("--rate has to be above 0")
    try:
        if told.lines:
            _write_lines(told.seed, told.rate, told.count)
            return
        with server(told.seed, told.rate, told.port, time.time()) as running:
            sys.stdout.write(f"http://127.0.0.1:{running.server_port}/feed.xml\n")
            sys.stdout.flush()
            running.serve_forever()
    except (KeyboardInterrupt, BrokenPipeError):
        return


if __name__ == "__main__":
    main()
