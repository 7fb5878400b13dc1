"""Texts that are equal or nearly so: words as arrays, shingles, MinHash, and the clusters that they make."""
