"""The command line: flags, the live line, exit codes; nothing that Python users could not call."""
