"""Lists of repositories and searches among them, from memory."""
