"""Whole slides: reading, tissue, tiles and stores; numpy only, no torch and no registry."""
