"""HTML pages: what a reader sees of them, as Markdown with headings, lists and tables."""

from __future__ import annotations

import copy
import re

import trafilatura
from lxml import etree
from lxml.html import HtmlElement

from baigong.knowledge.formats.document import (
    Document,
    File,
    clean,
    first_heading,
    known,
    one_line,
)
from baigong.knowledge.formats.markup import (
    data_tables,
    markdown_of,
    parse_html,
    prune,
    table_of,
)
from baigong.knowledge.formats.office import iso_time

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
    """What trafilatura holds for the content, or all of it where that would cost structure."""
    whole = copy.deepcopy(tree)
    tables: list[str] = []
    for element in list(data_tables(tree)):
        words = etree.Element("p")  # what trafilatura is shown instead; it knows no merged cells
        words.text = f"⟦{len(tables)}⟧ {' '.join(element.itertext())} ⟦/{len(tables)}⟧"
        words.tail = element.tail
        tables.append(table_of(element))
        element.getparent().replace(element, words)
    text: str = (
        trafilatura.extract(
            tree,
            output_format="markdown",
            include_formatting=True,
            include_comments=False,
            favor_recall=True,
        )
        or ""
    )
    for number, table in enumerate(tables):
        mark = rf"\s*⟦{number}⟧.*?⟦/{number}⟧\s*"
        block = f"\n\n{table}\n\n".replace("\\", "\\\\")
        text, times = re.subn(mark, block, text, flags=re.DOTALL)
        if times != 1:
            return _all_of(whole)
    # On a page of a few lines the extractor falls back to bare text; headings are worth more.
    if text and (first_heading(text) or not whole.xpath(_HEADED)):
        return text.strip()
    return _all_of(whole)


def _all_of(tree: HtmlElement) -> str:
    """All that a reader sees, but for the page's frame."""
    for element in tree.xpath(_FRAME):
        if element.getparent() is not None:
            element.drop_tree()
    main = tree.xpath("//main | //*[@role='main']")
    return markdown_of(main[0] if len(main) == 1 else tree)


def _meta(tree: HtmlElement, name: str) -> str:
    found = tree.xpath("//meta[@name=$name or @property=$name]/@content", name=name)
    return one_line(found[0]) if found else ""
