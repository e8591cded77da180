"""Text for pretraining: read the sources, clean, drop duplicates, hold some documents back."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from baigong.errors import DataProblems, Problem
from baigong.tuning.pretrain.recipe import Language, PretrainRecipe, Source

CHUNK_CHARACTERS = 4000  # books are cut, so that one book cannot fill a hundred rows in a run
SHORTEST_DOCUMENT = 120
SHORT_LINE = 30  # shorter ones, such as headings, may stand in many documents
SEGMENTS_PER_PAGE = 24  # aligned segments are short; a page of them reads like a document


@dataclass(frozen=True)
class Document:
    text: str
    title: str
    language: Language
    source: str

    @property
    def key(self) -> bytes:
        return hashlib.sha256(self.text.encode()).digest()


@dataclass(frozen=True)
class Pair:
    first: str
    second: str
    languages: tuple[Language, Language]
    source: str


@dataclass
class Corpus:
    """`documents` and `pairs` are trained on; `held_back` never is."""

    documents: dict[Language, list[Document]] = field(default_factory=lambda: {"en": [], "zh": []})
    held_back: dict[Language, list[Document]] = field(default_factory=lambda: {"en": [], "zh": []})
    pairs: list[Pair] = field(default_factory=list)
    held_back_pairs: list[Pair] = field(default_factory=list)


def read_corpus(recipe: PretrainRecipe, data: Path) -> Corpus:
    corpus = Corpus()
    seen: set[bytes] = set()
    for number, source in enumerate(recipe.sources):
        path = data / source.path
        if not path.is_file():
            raise _unreadable(path, None, f"sources.{number}.path", "there is no such file")
        if source.kind == "pairs":
            _add_pairs(corpus, source, path, recipe.mix.held_back, seen)
            continue
        for document in _documents(source, path):
            _add_document(corpus, document, seen, recipe.mix.held_back)
    for language, documents in corpus.held_back.items():
        corpus.held_back[language] = [
            kept for document in documents for kept in _new(document, seen)
        ]
    _order_by_weight(corpus, recipe)
    return corpus


def _unreadable(path: Path, line: int | None, name: str, message: str) -> DataProblems:
    return DataProblems([Problem(str(path), line, name, message)])


def _add_document(corpus: Corpus, document: Document, seen: set[bytes], held_back: float) -> None:
    if document.key in seen or not _is_in_its_language(document):
        return
    seen.add(document.key)
    if is_held_back(document.key, held_back):
        corpus.held_back[document.language].append(document)
    else:
        corpus.documents[document.language].extend(_chunks(document, seen))


def _add_pairs(
    corpus: Corpus, source: Source, path: Path, held_back: float, seen: set[bytes]
) -> None:
    """A page of pairs is held back or trained on whole, in both languages, as text and as tasks."""
    assert source.languages is not None
    pairs = list(_pairs(source, path, source.languages))
    for start in range(0, len(pairs), SEGMENTS_PER_PAGE):
        page = pairs[start : start + SEGMENTS_PER_PAGE]
        key = hashlib.sha256("\n".join(pair.first for pair in page).encode()).digest()
        is_held = is_held_back(key, held_back)
        if source.translate:
            (corpus.held_back_pairs if is_held else corpus.pairs).extend(page)
        target = corpus.held_back if is_held else corpus.documents
        for side, language in enumerate(source.languages):
            lines = [pair.second if side else pair.first for pair in page]
            document = Document("\n".join(lines), "", language, source.name)
            if _is_in_its_language(document):
                target[language].append(document)
            if not is_held:
                seen.update(_mark(line) for line in lines)


def is_held_back(key: bytes, share: float) -> bool:
    """By content, so that the split is the same on every machine and in every order."""
    return int.from_bytes(key[:8], "big") < share * 2**64


def _lines(path: Path) -> Iterator[str]:
    opener = gzip.open if path.suffix == ".gz" else open
    # newline="\n": some texts hold U+2028 and its like, which are not line ends here.
    with opener(path, "rt", encoding="utf-8", newline="\n") as file:
        for line in file:
            yield line.rstrip("\n")


def _documents(source: Source, path: Path) -> Iterator[Document]:
    assert source.language is not None
    if source.kind == "text":
        text = clean("\n".join(_lines(path)), is_markdown=False)
        for start in range(0, len(text), CHUNK_CHARACTERS):
            part = text[start : start + CHUNK_CHARACTERS]
            yield Document(part, source.name, source.language, source.name)
        return
    for number, line in enumerate(_lines(path), 1):
        try:
            row = json.loads(line)
            raw, title = row[source.text_field], row.get(source.title_field or "", "")
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            message = "this line is not an object with this field"
            raise _unreadable(path, number, source.text_field, message) from error
        if source.markdown:
            title = _markdown_title(raw) or title
        text = clean(raw, is_markdown=source.markdown)
        if len(text) < SHORTEST_DOCUMENT or (source.simplified_only and is_traditional(text)):
            continue
        yield Document(text, str(title), source.language, source.name)


def _pairs(source: Source, path: Path, languages: tuple[Language, Language]) -> Iterator[Pair]:
    is_json = ".jsonl" in path.suffixes
    for number, line in enumerate(_lines(path), 1):
        try:
            cells = json.loads(line) if is_json else line.split("\t")
        except json.JSONDecodeError as error:
            raise _unreadable(path, number, "", f"not JSON: {error}") from error
        if not isinstance(cells, list) or len(cells) < 2:
            raise _unreadable(path, number, "", "this line is not a pair")
        first, second = (clean(cell, is_markdown=False, is_reference=is_json) for cell in cells[:2])
        if first and second and first != second:
            yield Pair(first, second, languages, source.name)


_FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.S)
_FENCE = re.compile(r"^([`~]{3,}).*?^\1[`~]*\s*$", re.S | re.M)
_HTML = re.compile(r"<!--.*?-->|</?[A-Za-z][^<>\n]*>", re.S)
_IMAGE = re.compile(r"!\[[^\]]*\]\([^)]*\)")
_LINK = re.compile(r"\[([^\]\[]*)\]\([^)]*\)")
_MARKS = re.compile(r"\*\*|__|(?<!\w)\*(?=\S)|(?<=\S)\*(?!\w)|\{\{.*?\}\}|\{#[^}]*\}|<[^>\n]*>")
_ROLE = re.compile(r":[a-z:]+:`[!~]?([^`<]*?)\s*(?:<[^`]*>)?`|`([^`<]*?)\s*<[^`]*>`_+|`([^`]*)`_")
_EMPTY_BRACKETS = re.compile(r"[（(][\s,;，；、:：]*[)）]")
_SPECIAL = re.compile(r"<\|[^|>]*\|>")
_SPACES = re.compile(r"[ \t\u00a0\u3000]+")
_RULE = re.compile(r"^\W*$")
_TRADITIONAL = re.compile("[這個國為會來時學們說對過還發現於與後種業東車開關長門間話頭點]")
_SIMPLIFIED = re.compile("[这个国为会来时学们说对过还发现于与后种业东车开关长门间话头点]")


def clean(text: str, *, is_markdown: bool, is_reference: bool = False) -> str:
    """Plain paragraphs, one per line. Markup costs a small model tokens and teaches it nothing."""
    text = _SPECIAL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    if is_markdown:
        text = _FENCE.sub("", _FRONT_MATTER.sub("", text))
        text = _LINK.sub(r"\1", _IMAGE.sub("", _HTML.sub("", text)))
        text = _MARKS.sub("", text).replace("`", "")
    if is_reference:
        text = _ROLE.sub(lambda match: next(filter(None, match.groups()), ""), text)
        text = text.replace("``", "").replace("\\ ", "").replace("**", "")
    text = _EMPTY_BRACKETS.sub("", text)
    lines = (_clean_line(line) for line in text.split("\n"))
    return "\n".join(line for line in lines if line)


def _clean_line(line: str) -> str:
    line = _SPACES.sub(" ", line).strip().lstrip("#>").strip()
    line = re.sub(r"^[-*+] +", "", line)
    if not line or line[0] == "|" or line.startswith((":::", "import ", "::")) or _RULE.match(line):
        return ""
    symbols = sum(1 for mark in line if mark in "{}[]<>|\\/=_$#@~^&*`")
    return "" if symbols > 0.12 * len(line) else line


def _markdown_title(text: str) -> str:
    found = re.search(r"^#\s+(.+?)\s*$", _HTML.sub("", text), re.M) or re.search(
        r"^title:\s*[\"']?(.+?)[\"']?\s*$", text, re.M
    )
    return _LINK.sub(r"\1", found[1]).replace("`", "").strip() if found else ""


def is_traditional(text: str) -> bool:
    head = text[:2000]
    return len(_TRADITIONAL.findall(head)) > len(_SIMPLIFIED.findall(head))


_HAN = re.compile(r"[\u4e00-\u9fff]")


def _is_in_its_language(document: Document) -> bool:
    """An English page in a Chinese source, or the reverse, would blur the held-back measure."""
    head = document.text[:3000]
    share = len(_HAN.findall(head)) / max(1, len(head))
    return share > 0.3 if document.language == "zh" else share < 0.02


def _chunks(document: Document, seen: set[bytes]) -> Iterator[Document]:
    """Pieces of whole lines; a line of any length that stood in an earlier document is dropped."""
    piece: list[str] = []
    size = 0
    for line in document.text.split("\n"):
        if len(line) > SHORT_LINE:
            if _mark(line) in seen:
                continue
            seen.add(_mark(line))
        piece.append(line)
        size += len(line)
        if size >= CHUNK_CHARACTERS:
            yield Document("\n".join(piece), document.title, document.language, document.source)
            piece, size = [], 0
    if size >= SHORTEST_DOCUMENT:
        yield Document("\n".join(piece), document.title, document.language, document.source)


def _mark(line: str) -> bytes:
    return hashlib.sha256(b"line" + line.encode()).digest()[:12]


def _new(document: Document, seen: set[bytes]) -> Iterator[Document]:
    """A held-back document without the lines that also stand in a document trained on."""
    lines = [
        line
        for line in document.text.split("\n")
        if len(line) <= SHORT_LINE or _mark(line) not in seen
    ]
    text = "\n".join(lines)
    if len(text) >= SHORTEST_DOCUMENT:
        yield replace(document, text=text)


def _order_by_weight(corpus: Corpus, recipe: PretrainRecipe) -> None:
    """A random order in which a source of weight 2 turns up twice as early, so any prefix of the
    stream is a fair mix (Efraimidis and Spirakis: sort by u ** (1 / weight))."""
    weights = {source.name: source.weight for source in recipe.sources}
    for documents in corpus.documents.values():
        chance = random.Random(recipe.seed)
        keyed = [
            (chance.random() ** (1.0 / weights[document.source]), number)
            for number, document in enumerate(documents)
        ]
        documents[:] = [documents[number] for _, number in sorted(keyed, reverse=True)]
