"""A card's Markdown as HTML: no tag that its author wrote is one here, nothing foreign is loaded."""

from __future__ import annotations

import html
import posixpath
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import unquote, urlsplit

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markupsafe import Markup, escape
from typing_extensions import override

from baigong.console.hub.places import Place

LONGEST = 1 << 16  # characters that are shown: brackets in brackets take the square of their number
_SCHEMES = ("https://", "http://", "mailto:")
_PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".avif")  # no SVG: it may hold script
_UNSEEN = re.compile(r"<!--.*?(?:-->|\Z)|<(script|style)\b.*?(?:</\1\s*>|\Z)", re.S | re.I)
_TAG = re.compile(r"</?[A-Za-z][^<>]*>|<[!?][^<>]*>")
_ODD = re.compile(r"[^\w\- ]")
_ALIGNED = {"text-align:right": "number", "text-align:center": "centre"}
_ANCHOR = "card-"


@lru_cache(maxsize=64)
def card_html(text: str, place: Place) -> Markup:
    """The card as HTML; its links lead to the files beside it, its pictures are those or words."""
    return Markup(_MARKDOWN.render(text[:LONGEST], {"place": place}))


class _Renderer(RendererHTML):
    """Writes tags for Markdown alone. HTML is read, so that comments and tags can be left out."""

    @override
    def html_inline(self, tokens: Sequence[Token], idx: int, *_: Any) -> str:
        return _plain(tokens[idx].content)

    @override
    def html_block(self, tokens: Sequence[Token], idx: int, *_: Any) -> str:
        text = _plain(tokens[idx].content).strip()
        return f"<p>{text}</p>\n" if text else ""

    def heading_open(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        words = _words(tokens[idx + 1])
        slug = _ODD.sub("", words.lower()).strip().replace(" ", "-")
        used = env.setdefault("anchors", {})
        used[slug] = count = used.get(slug, -1) + 1
        tokens[idx].attrSet("id", f"{_ANCHOR}{slug}-{count}" if count else f"{_ANCHOR}{slug}")
        return self._demoted(tokens, idx, options, env)

    def heading_close(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        return self._demoted(tokens, idx, options, env)

    def link_open(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        target = _target(str(tokens[idx].attrs.get("href", "")), env["place"])
        tokens[idx].attrs = {} if target is None else {"href": target}
        if target is not None and not target.startswith(("/", "#")):
            tokens[idx].attrs["rel"] = "noreferrer nofollow"
        return self.renderToken(tokens, idx, options, env)

    @override
    def image(self, tokens: Sequence[Token], idx: int, _options: Any, env: Any) -> str:
        source, words = str(tokens[idx].attrs.get("src", "")), _words(tokens[idx])
        path = _beside(source)
        if path and path.lower().endswith(_PICTURES):
            return f'<img src="{escape(env["place"].bytes_of(path))}" alt="{escape(words)}">'
        # Another site is told of no reader; and a link may not stand in a link.
        return str(escape(words))

    def th_open(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        """The page's policy allows no style in a tag."""
        kind = _ALIGNED.get(str(tokens[idx].attrs.pop("style", "")))
        if kind:
            tokens[idx].attrSet("class", kind)
        return self.renderToken(tokens, idx, options, env)

    td_open = th_open

    def table_open(self, *_: Any) -> str:
        return '<div class="scroll"><table>\n'

    def table_close(self, *_: Any) -> str:
        return "</table></div>\n"

    def _demoted(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        """The page has a first heading already."""
        tokens[idx].tag = f"h{min(6, int(tokens[idx].tag[1:]) + 1)}"
        return self.renderToken(tokens, idx, options, env)


_MARKDOWN = MarkdownIt("commonmark", {"html": True}, renderer_cls=_Renderer).enable([
    "table",
    "strikethrough",
])


def _target(link: str, place: Place) -> str | None:
    """Where a link may lead; None where it may not."""
    if link.startswith("#"):
        return f"#{_ANCHOR}{link[1:]}"
    if link.lower().startswith(_SCHEMES):
        return link
    path = _beside(link)
    return None if path is None else place.file(path)


def _beside(link: str) -> str | None:
    """The path of a file of the repository that a link is relative to."""
    try:
        parts = urlsplit(link)
    except ValueError:
        return None
    path = posixpath.normpath(unquote(parts.path).lstrip("/"))
    is_elsewhere = bool(parts.scheme or parts.netloc) or path in {".", ".."}
    return None if is_elsewhere or path.startswith("../") else path


def _words(token: Token) -> str:
    return "".join(
        each.content for each in token.children or () if each.type in {"text", "code_inline"}
    )


def _plain(text: str) -> str:
    """What is left of HTML without its tags, as text."""
    return str(escape(html.unescape(_TAG.sub("", _UNSEEN.sub("", text)))))
