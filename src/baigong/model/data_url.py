"""Pictures as text: `data:image/png;base64,...`, as models that see are asked."""

from __future__ import annotations

import base64
import binascii

from baigong.errors import InvalidInput


def image_of(given: str) -> bytes:
    """The file in a data URL.

    Raises:
        InvalidInput: it is none, or no base64.
    """
    head, comma, data = given.partition(",")
    if not comma or not (head.startswith("data:image/") and head.endswith(";base64")):
        raise InvalidInput(
            "input: this model looks at images.",
            hint='Send each as "data:image/png;base64,...".',
            param="input",
        )
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise InvalidInput(f"input: an image is not base64: {error}.", param="input") from error


def data_url(data: bytes, kind: str) -> str:
    """The text for a file of a kind, such as png."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
