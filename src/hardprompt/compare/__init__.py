"""Several methods side by side: what their runs can tell, as tables and as figures."""
