"""Servers beyond this process that answer for models: who they are, how they are asked, how they fare."""
