"""`/v1/vector_stores`: knowledge bases as OpenAI's clients know them."""
