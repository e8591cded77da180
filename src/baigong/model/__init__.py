"""What models are, by their files: architectures, chat templates, tensors, GGUF, the well-known ones."""
