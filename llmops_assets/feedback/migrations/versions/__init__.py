"""Schema revisions, in order of their number. A released revision is never edited."""
