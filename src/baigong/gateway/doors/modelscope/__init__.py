"""The door for ModelScope's client, `modelscope` and `modelscope-hub`."""
