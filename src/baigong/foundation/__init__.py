"""Foundation models that ship in the package."""
