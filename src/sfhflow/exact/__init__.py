"""The true likelihood."""
