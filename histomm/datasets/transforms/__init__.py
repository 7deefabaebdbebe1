"""Transforms on RGB uint8 images that record where a view came from."""
