"""Arithmetic, rules for derivatives, shapes, pytrees, meshes: nothing of distributions."""
