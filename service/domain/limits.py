"""Every limit on what callers may send, named once; schemas and error texts read them from here."""

ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
ID_LENGTH_MAX = 64
EVENT_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}$"
UNIT_LENGTH_MAX = 256  # Characters, as in the schemas.
OCCASION_LENGTH_MAX = 256
EVENT_ID_LENGTH_MAX = 128
CONTEXT_BYTES_MAX = 4_096
PAYLOAD_BYTES_MAX = 16_384
VARIANTS_MAX = 100  # Active and paused together: what one quadrature is tested for.
VARIANTS_EVER_MAX = 1_000  # With the retired ones: an index is never reused.
EVENTS_MAX = 20
BATCH_MAX = 10_000
BODY_BYTES_MAX = 64 * 1024
BATCH_BODY_BYTES_MAX = 8 * 1024 * 1024
URL_BYTES_MAX = 8 * 1024
HEADERS_BYTES_MAX = 16 * 1024  # Names and values of one request together.
HEADERS_MAX = 100
TRAILERS_MAX = 20  # Fields after a body; they are dropped.
CONTENT_LENGTH_DIGITS_MAX = 19
RECEIVE_SECONDS_MAX = 10  # For a request's head, and again for its body.
STALL_SECONDS_MAX = 10  # For a client that takes nothing of its answer.
JSON_DEPTH_MAX = 32
JSON_INTEGER_DIGITS_MAX = 20
WINDOW_SECONDS_MAX = 90 * 86_400
HALF_LIFE_SECONDS_MIN = 3_600
HALF_LIFE_SECONDS_MAX = 3_650 * 86_400
VALUE_ABS_MAX = 1_000_000_000.0
# The service's own occasions (nonces) start so; callers' may not.
NONCE_MARK = "~"
TEXT_PATTERN = r"^[^\x00]*$"  # No database takes a NUL.
OCCASION_PATTERN = r"^[^\x00~][^\x00]*$"
