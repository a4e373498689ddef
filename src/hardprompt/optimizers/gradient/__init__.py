"""Methods that need the gradient of a loss."""
