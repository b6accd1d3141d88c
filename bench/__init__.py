"""jxent side by side with its peers: accuracy, speed and overhead."""
