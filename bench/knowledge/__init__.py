"""Knowledge measured: quality, ingest, queries, growth, and documents pushed while it is asked."""
