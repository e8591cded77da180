"""Which parts of an arena are free: a buddy allocator."""

from __future__ import annotations


class Buddies:
    """Hands out aligned extents whose sizes are powers of two, the lowest address first.

    Extents of one size lie side by side as long as they can, which lets attention look at many
    sequences through one view of the arena.
    """

    def __init__(self, size: int, smallest: int) -> None:
        """Manage addresses 0:size; both sizes count the same unit, `smallest` a power of two."""
        self.smallest = smallest
        self._free: dict[int, set[int]] = {}
        self.num_free = 0
        address, rest = 0, size
        while rest >= smallest:
            block = 1 << (rest.bit_length() - 1)
            self.release(address, block)
            address, rest = address + block, rest - block
        self.largest = max(self._free, default=0)

    def allocate(self, size: int) -> int | None:
        """The address of `size` units (a power of two), or None when no room is left in one piece."""
        block = size
        while not self._free.get(block):
            block *= 2
            if block > self.largest:
                return None
        address = min(self._free[block])
        self._free[block].remove(address)
        while block > size:  # give the upper halves back
            block //= 2
            self._free.setdefault(block, set()).add(address + block)
        self.num_free -= size
        return address

    def release(self, address: int, size: int) -> None:
        """Take an extent back and join it with its free neighbours."""
        self.num_free += size
        while (buddy := address ^ size) in self._free.get(size, ()):
            self._free[size].remove(buddy)
            address, size = min(address, buddy), size * 2
        self._free.setdefault(size, set()).add(address)

    def double(self, address: int, size: int) -> bool:
        """Try to make the extent twice as long where it lies."""
        if address & size or address + size not in self._free.get(size, ()):
            return False
        self._free[size].remove(address + size)
        self.num_free -= size
        return True
