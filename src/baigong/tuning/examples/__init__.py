"""What rows become for each objective: ids, pairs, prompts, pictures. Nothing here imports torch."""
