"""`/v1/fine_tuning`: builds as OpenAI's clients know them."""
