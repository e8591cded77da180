"""`/v1/responses`: one answer, with what was searched for it."""
