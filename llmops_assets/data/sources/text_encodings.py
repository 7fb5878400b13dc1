"""Bytes to text, in the encoding that a file declares."""

from llmops_assets.data.records import Reason, RecordError


def decoded(raw: bytes, encoding: str) -> str:
    """Return the text of `raw`, which UTF-8 can hold.

    Raises RecordError with the byte that is wrong, or with the name of an encoding that is none of text.
    """
    try:
        text = raw.decode(encoding)
        text.encode("utf-8")
    except UnicodeDecodeError as error:
        raise RecordError(Reason.INVALID_UTF8, f"byte {error.start} is not {encoding} ({error.reason})") from error
    except UnicodeEncodeError as error:
        raise RecordError(Reason.INVALID_UNICODE, f"its {encoding} holds half of a surrogate pair") from error
    except (UnicodeError, LookupError) as error:  # some codecs of Python are no encodings of text
        raise RecordError(Reason.INVALID_UTF8, f"it declares the encoding {encoding!r}, which is unknown") from error
    return text
