"""Record formats: what the object of one line, whatever its layout, says in typed records."""
