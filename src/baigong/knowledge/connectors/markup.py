"""XML from strangers: nothing is loaded for it, no entity is expanded, mistakes are forgiven."""

from __future__ import annotations

from typing import Any

from lxml import etree


def root_of(data: bytes) -> Any | None:
    """The root element, or None where there is no XML at all."""
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        recover=True,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        return etree.fromstring(data, parser)
    except etree.XMLSyntaxError:
        return None


def kind_of(element: Any | None) -> str:
    """The name of an element without its namespace; empty for what is not an element."""
    if element is None or not isinstance(element.tag, str):
        return ""
    return str(element.tag.rpartition("}")[2])


def space_of(element: Any) -> str:
    """The namespace of an element; empty where it has none."""
    tag = element.tag
    return tag[1:].partition("}")[0] if isinstance(tag, str) and tag.startswith("{") else ""
