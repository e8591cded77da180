"""The hub: models and datasets as repositories with revisions."""
