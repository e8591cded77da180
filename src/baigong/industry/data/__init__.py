"""From files to rows: read, recognised, checked, looked through, split, and reported on."""
