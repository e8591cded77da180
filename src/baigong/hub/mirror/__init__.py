"""Repositories of hubs elsewhere, here: named at once, their bytes when they are asked for."""
