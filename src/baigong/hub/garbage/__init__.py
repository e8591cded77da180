"""What nothing leads to any more, and how it goes."""
