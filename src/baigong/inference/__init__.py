"""Inference: engines, and what turns their token ids into text."""
