"""Mail (.eml): who wrote to whom, when and about what; the body; attachments that are text."""

from __future__ import annotations

from datetime import UTC
from email import message_from_bytes, policy
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.message import Message
from email.utils import parsedate_to_datetime

from baigong.knowledge.formats.document import (
    Document,
    File,
    Unreadable,
    clean,
    heading,
    known,
    one_line,
)
from baigong.knowledge.formats.encoding import decode
from baigong.knowledge.formats.markup import markdown_of, parse_html, prune


def read(file: File) -> Document:
    """The message; its headers are metadata, and lines at the top of the text."""
    message = message_from_bytes(file.data, policy=policy.compat32)
    subject = _header(message, "Subject")
    facts = known(
        subject=subject,
        sender=_header(message, "From"),
        recipient=_header(message, "To"),
        sent=_header(message, "Date"),
    )
    if not facts:
        raise Unreadable("is not a mail: it has no header lines.")
    parts = [heading(1, subject)]
    parts.append("\n".join(f"{name}: {facts[name]}" for name in _SHOWN if name in facts))
    parts += _body(message)
    return Document(
        file.path,
        subject or file.stem,
        clean("\n\n".join(part for part in parts if part)),
        is_markdown=True,
        metadata=facts,
        published_at=_sent_at(message),
    )


_SHOWN = ("sender", "recipient", "sent")


def _header(message: Message, name: str) -> str:
    value = message.get(name, "")
    try:
        return one_line(str(make_header(decode_header(value))))
    except (HeaderParseError, LookupError, UnicodeError, ValueError):
        return one_line(str(value))


def _sent_at(message: Message) -> float | None:
    try:
        when = parsedate_to_datetime(str(message.get("Date", "")))
        return (when if when.tzinfo is not None else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _body(message: Message) -> list[str]:
    """The body, as HTML where there is such a version, since it keeps tables; then attachments."""
    plain: list[str] = []
    rich: list[str] = []
    attached: list[str] = []
    names: list[str] = []
    for part in message.walk():
        name = _file_name(part)
        if part.is_multipart():
            continue
        if name or part.get_content_disposition() == "attachment":
            names.append(name or "unnamed")
            if part.get_content_maintype() == "text":
                attached += [heading(2, names[-1]), _text(part)]
        elif part.get_content_type() == "text/html":
            rich.append(_text(part))
        elif part.get_content_type() == "text/plain":
            plain.append(_text(part))
    listed = [f"Attachments: {', '.join(names)}"] if names else []
    return [*(rich if any(rich) else plain), *listed, *attached]


def _file_name(part: Message) -> str:
    name = part.get_filename() or ""
    try:
        return one_line(str(make_header(decode_header(name))))
    except (HeaderParseError, LookupError, UnicodeError, ValueError):
        return one_line(name)


def _text(part: Message) -> str:
    data = part.get_payload(decode=True)
    assert isinstance(data, bytes)
    try:
        text = data.decode(part.get_content_charset() or "utf-8")
    except (LookupError, UnicodeDecodeError):
        text = decode(data)
    if part.get_content_type() != "text/html" or not text.strip():
        return text.strip()
    tree = parse_html(text)
    prune(tree)
    return markdown_of(tree)
