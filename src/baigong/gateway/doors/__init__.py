"""Doors: one package for each protocol that applications already speak."""
