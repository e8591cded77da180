"""Turns a GGUF file, once, into an ordinary model folder, so that everything else works on it unchanged."""
