"""Baigong (百工): an open model cloud in one process."""

__version__ = "0.1.0"
