"""Data: labelled texts from tables, and data sets by name."""
