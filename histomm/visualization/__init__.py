"""Pictures of data, matches and results."""
