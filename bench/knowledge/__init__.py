"""Knowledge measured: quality, ingest, queries, and documents pushed while it is asked."""
