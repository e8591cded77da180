"""The pages of the hub: lists of repositories, and each with its card, files and history."""
