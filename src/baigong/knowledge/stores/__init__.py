"""Where chunks are kept and searched: one port, a file for each store that fits it."""
