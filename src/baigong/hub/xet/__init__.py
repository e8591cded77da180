"""How Hugging Face's clients send large files: chunks in xorbs, put together by shards.

The formats are at huggingface.co/docs/xet. Bytes are little-endian; hashes are of 32 bytes, written
as four numbers of 64 bits.
"""
