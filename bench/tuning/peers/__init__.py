"""Scripts that run in the peers' own environments; they know nothing of Baigong."""
