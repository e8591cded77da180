"""What a commit may hold: contents are looked at once, and what was found is kept by their digest."""
