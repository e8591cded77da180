"""Knowledge: from documents to passages that can be cited."""
