"""Style transfer of texts."""
