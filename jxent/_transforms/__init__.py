"""From functions to functions."""
