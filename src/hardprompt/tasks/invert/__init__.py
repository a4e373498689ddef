"""From pictures to a prompt."""
