"""The store: database tables and content-addressed blobs."""
