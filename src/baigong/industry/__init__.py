"""Industry models: recipe, build, gate and releases."""
