"""Discussions and pull requests, as the clients' `community` module knows them."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from baigong.gateway.bodies import convert, read_object
from baigong.gateway.commits import commit
from baigong.gateway.doors.huggingface.wire import repository_of, taking, type_of, url_of
from baigong.gateway.endpoints import actor_of, answering, when
from baigong.gateway.replies import json_reply
from baigong.hub.commits import Commit, Words
from baigong.hub.discussions import Discussion, Remark
from baigong.hub.hub import Hub
from baigong.hub.names import MAIN
from baigong.hub.repositories import Repository

_PAGE = 50
_OPEN = ("draft", "open")


class _New(msgspec.Struct):
    title: str
    description: str = ""
    is_pull: bool = msgspec.field(name="pullRequest", default=False)


class _Comment(msgspec.Struct):
    comment: str = ""


class _Edit(msgspec.Struct):
    content: str


class _Title(msgspec.Struct):
    title: str


class _Status(msgspec.Struct):
    status: Literal["open", "closed"]
    comment: str = ""


class DiscussionsApi:
    """The endpoints."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._talk = hub.discussions

    def routes(self) -> list[Route]:
        root = "/api/{kind:kind}/{owner:part}/{name:part}/discussions"
        one, remark = f"{root}/{{number:int}}", f"{root}/{{number:int}}/comment/{{remark}}"
        return [
            Route(root, answering(self.page), methods=["GET"]),
            Route(root, taking(self.create), methods=["POST"]),
            Route(one, answering(self.details), methods=["GET"]),
            Route(f"{one}/comment", taking(self.comment), methods=["POST"]),
            Route(f"{one}/title", taking(self.rename), methods=["POST"]),
            Route(f"{one}/status", taking(self.set_status), methods=["POST"]),
            Route(f"{one}/merge", self.merge, methods=["POST"]),
            Route(f"{remark}/edit", taking(self.edit), methods=["POST"]),
            Route(f"{remark}/hide", answering(self.hide), methods=["POST"]),
        ]

    def page(self, request: Request) -> dict[str, Any]:
        """`p` counts pages from 0; filtered by type, status and author."""
        one, query = repository_of(self._hub, request), request.query_params
        kind, status, author = query.get("type"), query.get("status"), query.get("author")
        found = [
            each
            for each in self._talk.all(one)
            if kind in {None, "all", "pull_request" if each.is_pull else "discussion"}
            and status in {None, "all", "open" if each.status in _OPEN else "closed"}
            and author in {None, each.author}
        ]
        start = _PAGE * int(query["p"][:9]) if query.get("p", "").isdecimal() else 0
        shown = found[start : start + _PAGE]
        told = [_told(one, each) for each in shown]
        return {"discussions": told, "count": len(found), "start": start}

    def create(self, request: Request, body: dict[str, Any]) -> dict[str, Any]:
        one, new = repository_of(self._hub, request), convert(body, _New)
        target = MAIN if new.is_pull else ""
        text = new.description or new.title
        made = self._talk.open(one, actor_of(request), new.title, text, target=target)
        url = f"{url_of(request, one)}/discussions/{made.number}"
        return {"num": made.number, "url": url, "pullRequest": made.is_pull}

    def details(self, request: Request) -> dict[str, Any]:
        one, discussion = self._at(request)
        events = [_event(remark) for remark in self._talk.remarks(one, discussion.number)]
        told = _told(one, discussion)
        if discussion.is_pull:
            events += [_commit(each) for each in self._talk.commits_of(one, discussion)]
            changes = {"base": f"refs/heads/{discussion.target}"}
            if discussion.merged:
                changes["mergeCommitId"] = discussion.merged
            told |= {"changes": changes, "filesWithConflicts": [], "diff": ""}
        return {**told, "events": sorted(events, key=lambda event: event["createdAt"])}

    def comment(self, request: Request, body: dict[str, Any]) -> dict[str, Any]:
        one, discussion = self._at(request)
        text = convert(body, _Comment).comment
        made = self._talk.comment(one, actor_of(request), discussion.number, text)
        return {"newMessage": _event(made)}

    def edit(self, request: Request, body: dict[str, Any]) -> dict[str, Any]:
        return self._edit(request, convert(body, _Edit).content)

    def hide(self, request: Request) -> dict[str, Any]:
        return self._edit(request, None)

    def rename(self, request: Request, body: dict[str, Any]) -> dict[str, Any]:
        one, discussion = self._at(request)
        title = convert(body, _Title).title
        return {
            "newTitle": _event(self._talk.rename(one, actor_of(request), discussion.number, title))
        }

    def set_status(self, request: Request, body: dict[str, Any]) -> dict[str, Any]:
        one, discussion = self._at(request)
        wanted, actor = convert(body, _Status), actor_of(request)
        made = self._talk.set_status(one, actor, discussion.number, wanted.status)
        if wanted.comment:
            self._talk.comment(one, actor, discussion.number, wanted.comment)
        return {"newStatus": _event(made)}

    async def merge(self, request: Request) -> Response:
        """Make one commit of a pull request's on the branch that it is for."""
        body = (
            await read_object(request) if request.headers.get("content-length", "0") != "0" else {}
        )
        comment = convert(body, _Comment).comment
        return json_reply(await asyncio.to_thread(self._merge, request, comment))

    def _merge(self, request: Request, comment: str) -> dict[str, Any]:
        (one, pull), actor = self._at(request), actor_of(request)
        actor.check_owns(one.owner)
        changes = self._talk.changes(one, pull)
        words = Words(f"{pull.title} (#{pull.number})", pull.author)
        made = commit(self._hub, actor, one, changes, words, branch=pull.target).commit
        if comment:
            self._talk.comment(one, actor, pull.number, comment)
        return {"newStatus": _event(self._talk.note_merged(one, actor, pull, made.id))}

    def _edit(self, request: Request, text: str | None) -> dict[str, Any]:
        one, discussion = self._at(request)
        actor, remark = actor_of(request), request.path_params["remark"]
        return {
            "updatedComment": _event(self._talk.edit(one, actor, discussion.number, remark, text))
        }

    def _at(self, request: Request) -> tuple[Repository, Discussion]:
        one = repository_of(self._hub, request)
        return one, self._talk.find(one, request.path_params["number"])


def _told(one: Repository, discussion: Discussion) -> dict[str, Any]:
    return {
        "num": discussion.number,
        "title": discussion.title,
        "author": {"name": discussion.author},
        "status": discussion.status,
        "isPullRequest": discussion.is_pull,
        "createdAt": when(discussion.created_at),
        "repo": {"name": one.name, "type": type_of(one.kind)},
    }


def _event(remark: Remark) -> dict[str, Any]:
    author = {"name": remark.author}
    told = {"id": remark.id, "author": author, "createdAt": when(remark.at)}
    content = remark.content
    if remark.kind == "title":
        data = {"from": content["before"], "to": content["after"]}
        return {**told, "type": "title-change", "data": data}
    if remark.kind == "status":
        return {**told, "type": "status-change", "data": {"status": content["status"]}}
    edited_at = content.get("edited_at")
    latest = {
        "raw": content["text"],
        "html": "",
        "updatedAt": when(edited_at or remark.at),
        "author": author,
    }
    data = {
        "edited": edited_at is not None,
        "hidden": content.get("hidden", False),
        "latest": latest,
        "history": [latest],
    }
    return {**told, "type": "comment", "data": data}


def _commit(commit: Commit) -> dict[str, Any]:
    return {
        "id": commit.id,
        "type": "commit",
        "author": {"name": commit.author},
        "createdAt": when(commit.created_at),
        "data": {"subject": commit.title, "oid": commit.id},
    }
