"""What numbers mean, and how two distributions meet in a measure."""
