"""HTML pages: what a reader sees of them, as Markdown with headings, lists and tables."""

from __future__ import annotations

import trafilatura
from lxml.html import HtmlElement

from baigong.knowledge.formats.document import (
    Document,
    File,
    clean,
    first_heading,
    known,
    one_line,
)
from baigong.knowledge.formats.docx import iso_time
from baigong.knowledge.formats.markup import data_tables, markdown_of, parse_html, prune

_HEADED = "//body//*[self::h1 or self::h2 or self::h3]"
_FRAME = (  # the page round the content
    "//nav | //footer | //aside | //*[@role='navigation' or @role='contentinfo' or @role='banner']"
    " | //header[not(ancestor::article or ancestor::main)]"
)


def read(file: File) -> Document:
    """The main content of a page."""
    tree = parse_html(file.data)
    title = one_line("".join(tree.xpath("string(//head/title)")))
    facts = known(author=_meta(tree, "author"), description=_meta(tree, "description"))
    published_at = iso_time(_meta(tree, "article:published_time"))
    prune(tree)
    text = clean(_content(tree))
    return Document(
        file.path,
        title or first_heading(text) or file.stem,
        text,
        is_markdown=True,
        metadata=facts,
        published_at=published_at,
    )


def _content(tree: HtmlElement) -> str:
    """What trafilatura holds for the content, but all of it where that would cost structure."""
    if not any(True for _ in data_tables(tree)):
        text: str | None = trafilatura.extract(
            tree,
            output_format="markdown",
            include_formatting=True,
            include_comments=False,
            favor_recall=True,
        )
        # On a page of a few lines the extractor falls back to bare text; headings are worth more.
        if text and (first_heading(text) or not tree.xpath(_HEADED)):
            return text
    for element in tree.xpath(_FRAME):
        if element.getparent() is not None:
            element.drop_tree()
    main = tree.xpath("//main | //*[@role='main']")
    return markdown_of(main[0] if len(main) == 1 else tree)


def _meta(tree: HtmlElement, name: str) -> str:
    found = tree.xpath("//meta[@name=$name or @property=$name]/@content", name=name)
    return one_line(found[0]) if found else ""
