"""Rows that ask a question of documents."""

from __future__ import annotations

from baigong.evals.text import language_of
from baigong.industry.data.cells import Cells, Draft
from baigong.industry.grounding import NOT_FOUND


def grounded(cells: Cells) -> Draft:
    question = cells.text("question")
    answer = cells.text("answer", required=False)
    document = cells.text("document", required=False) or None
    if document and not answer:
        cells.bad("answer", f"empty, although the document is {document}")
    # No document where the file has that column, or no answer: it is not in the documents.
    if not answer or (document is None and cells.has("document")):
        answer = NOT_FOUND[language_of(question)]
    return Draft(cells.prompt(question), answer, question, document)
