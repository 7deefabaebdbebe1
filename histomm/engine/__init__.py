"""Hooks and what else drives a run."""
