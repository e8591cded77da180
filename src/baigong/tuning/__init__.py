"""Tuning: from rows to an adapter that serves as it trained."""
