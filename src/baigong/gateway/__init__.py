"""The gateway: doors, keys and errors on the wire."""
