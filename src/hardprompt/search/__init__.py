"""Searches: one engine for every optimizer, its budget, rewards and their wrappers; no task, no model, no settings."""
