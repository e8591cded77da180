"""Tuning beside its peers."""
