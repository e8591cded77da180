"""The door for Ollama's client."""
