"""XML from strangers: nothing is loaded for it, no entity is expanded, mistakes are forgiven."""

from __future__ import annotations

import re
from typing import Any

from lxml import etree

_REFERENCE = re.compile(rb"&#(x[0-9a-fA-F]{1,8}|[0-9]{1,8});?")


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
        root = etree.fromstring(_REFERENCE.sub(_whole, data), parser)
        if root is not None:
            etree.tostring(root, encoding="unicode")  # or half a character would surface late
    except (etree.XMLSyntaxError, UnicodeDecodeError):
        return None
    return root


def _whole(reference: re.Match[bytes]) -> bytes:
    """A reference to half a character, as which many programs write emoji, is none at all."""
    digits = reference[1]
    number = int(digits[1:], 16) if digits.startswith(b"x") else int(digits)
    return b"&#xFFFD;" if 0xD800 <= number < 0xE000 else reference[0]


def kind_of(element: Any | None) -> str:
    """The name of an element without its namespace; empty for what is not an element."""
    if element is None or not isinstance(element.tag, str):
        return ""
    return str(element.tag.rpartition("}")[2])


def space_of(element: Any) -> str:
    """The namespace of an element; empty where it has none."""
    tag = element.tag
    return tag[1:].partition("}")[0] if isinstance(tag, str) and tag.startswith("{") else ""
