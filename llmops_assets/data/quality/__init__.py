"""What is not worth, or not fit, to be trained on: quality rules, repetition, languages, personal data."""
