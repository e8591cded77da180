"""Settings for tests that run torch."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True, scope="package")
def _one_thread() -> None:
    """Tiny products gain nothing from more, and lose much on a busy machine."""
    torch.set_num_threads(1)
