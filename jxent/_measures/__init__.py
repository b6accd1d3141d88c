"""One measure a file: what it means, and which formula serves which distribution."""
