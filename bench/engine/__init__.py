"""Our engine beside its named peers: the same weights and prompts, in the same run, taking turns."""
