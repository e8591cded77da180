"""OpenAI's protocol, under `/v1`: chat, completions, embeddings, models."""
