"""The pages of long jobs: a list of them, and each with its curve, events, settings and verdict."""
