"""Few-shot text classification."""
