"""Any reward that a user writes."""
