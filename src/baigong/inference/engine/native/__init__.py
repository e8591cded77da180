"""The forward pass in C++, for processors: compiled on this machine at first use, optional everywhere."""
