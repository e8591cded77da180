"""The door that Hugging Face's clients knock at."""
