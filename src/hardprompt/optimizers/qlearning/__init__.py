"""The Q-learner with a sparse policy: PIN, RLPrompt and what lies between."""
