"""The engine: a process that turns token ids into token ids for one base and many adapters."""
