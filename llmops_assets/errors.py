"""The errors that this project raises at its boundaries, written for the person who reads them."""


class LlmopsError(Exception):
    """Something a user can mend: the message says what is wrong, where (file, line, key) and what to do.

    Everything the project raises on purpose derives from this class, so that the CLI and the Dagster layer
    can show the sentence alone and keep stack traces for defects.
    """
