"""Every bound of the program, with its unit and its reason. Settings override those that an operator may want to
move.
"""

from typing import Final

# -- the wire --
FRAME_MIN_BYTES: Final = 4096  # the standard's frame-min-size; tune-ok below it is refused
NARRATED_FRAME_MAX_BYTES: Final = 1_048_576  # held by amqpd trace; no broker is set to larger ones
HANDSHAKE_FRAME_MAX_BYTES: Final = 131_072  # before tune-ok nobody may ask us to hold more
TABLE_DEPTH_MAX: Final = 64  # nested tables and arrays; RabbitMQ has no bound and overflows
TABLE_ITEMS_MAX: Final = (
    8192  # fields of one table with all it holds: zero-width array elements cost nothing on the wire
)
RECEIVE_BYTES: Final = 65_536  # asked of the socket at once: hundreds of small publishes, one system call
RECEIVE_LARGE_BYTES: Final = 262_144  # the same while the rest of a large message is due
RECEIVE_LARGE_FROM: Final = 8_192  # so much of it: fewer large messages then lie across two reads
PUBLISH_ROUTES_MAX: Final = 4096  # raw publish methods that a connection may remember; then it forgets all at once
PUBLISH_ROUTES_SHARED_MAX: Final = 131_072  # the same beyond those, of all connections together; 450 bytes each

# -- a turn --
TURN_BYTES: Final = 262_144  # taken from sockets before queues are pumped and outboxes written
TURN_DELIVERIES: Final = 2048  # of one queue before the others and the sockets have their turn
TURN_ROUNDS: Final = 8  # times that queues which others have sent something to are looked at in the same turn
DEATH_DELIVERIES: Final = 32  # a dead letter, which is routed with new headers, is as much work as so many
TURNS_BEFORE_YIELD_S: Final = 0.005  # work this long before other tasks of the event loop run
STALE_TIMERS_MAX: Final = 1024  # deadlines that were set anew or cleared and still lie in the heap, beyond half of it

# -- buffers --
OUTBOX_HIGH_BYTES: Final = 1_048_576  # above: the connection's consumers have no credit
OUTBOX_LOW_BYTES: Final = 262_144  # below: they have it again
OUTBOX_STOP_BYTES: Final = 8_388_608  # above: nothing more is read from that peer until it reads
LARGE_RECORD_BYTES: Final = 512  # contents from this size go into a segment by reference, until all of it is joined
LARGE_PIECE_BYTES: Final = 16_384  # contents from this size go to the socket by reference, not by copy
SEND_PIECES_MAX: Final = 512  # buffers in one sendmsg (IOV_MAX is 1024)

# -- the store --
SEGMENT_BYTES: Final = 262_144  # one LMDB value: what is read back at once
SEGMENT_SPAN: Final = 262_144  # positions between the ends of one put together: 32 KiB of settled bits
SMALL_SEGMENT_BYTES: Final = 65_536  # below: worth putting together with its neighbours
COMPACTION_SEGMENTS: Final = 256  # of one queue: above, and above twice what the last time left, small ones are joined
COMPACTION_BYTES: Final = 4_194_304  # of segments of which most is settled: above, they are written anew
COMPACTION_STEP_BYTES: Final = 1_048_576  # read and rewritten in one turn
BATCH_HIGH_BYTES: Final = 2_097_152  # waiting for the committer: above, who adds much to it is not read
BATCH_LOW_BYTES: Final = 524_288  # below: they are again
BATCH_SHARE_BYTES: Final = 131_072  # of the open batch: who adds less goes on while others are held back
BATCH_STOP_BYTES: Final = 16_777_216  # above: no publisher is read
DELIVERED_AHEAD: Final = 65_536  # positions marked as "may have been delivered" in advance of the deliveries
COUNT_BYTES: Final = 16_777_216  # of segments that are read to count the bodies in them; of more, they are guessed
RECORD_ESTIMATE_BYTES: Final = 80  # of a message on disk that are not its body, where bodies must be guessed
QUEUE_WINDOW_BYTES: Final = 8_388_608  # ready messages a queue keeps in memory before it pages the rest out
MESSAGE_OVERHEAD_BYTES: Final = 256  # what a message costs in memory beside its content

# -- exchanges --
DELAY_MAX_MS: Final = 4_294_967_295  # of x-delay: 49 days; RabbitMQ's plug-in has no longer timers
SCHEDULE_KEYS: Final = 4096  # delayed messages of one exchange whose times are in memory, twice at most
SCHEDULE_STEP_BYTES: Final = 1_048_576  # of delayed messages that are due, read and routed at once
HISTORY_BYTES: Final = 16_777_216  # what a recent history exchange remembers, whatever its length
SEEN_IDS: Final = 65_536  # message ids a deduplicating exchange knows unless x-cache-size says otherwise
SEEN_IDS_MAX: Final = 1_048_576  # the largest x-cache-size: 300 MiB of memory
SEEN_STEP: Final = 4096  # ids forgotten at once when their time is over

# -- access --
PATTERN_MAX_BYTES: Final = 4096
PATTERN_DEPTH_MAX: Final = 50  # groups inside groups: the compiler of patterns recurses
PATTERN_SIZE_MAX: Final = 20_000  # characters, counted as often as they must be there: about 10 ms and 5 MB
PATTERN_TIME_S: Final = 0.02  # of CPU, for one name; a usual answer takes a microsecond
PATTERN_TIMEOUTS_MAX: Final = 10  # then a pattern is given up, so that many names cost no more than a few
PATTERN_ANSWERS_MAX: Final = 1024  # remembered a pattern, then forgotten all at once
PATTERNS_MAX: Final = 8192  # of permissions, compiled; then all are compiled again when they are needed
PASSWORDS_REMEMBERED_MAX: Final = 4096  # digests of those that were right; then all are forgotten at once
PASSWORD_THREADS_MAX: Final = 4  # each takes 16 MiB and a core while it looks; one core is left to the messages
USER_TAGS_MAX: Final = 64

# -- names and counts --
SHORTSTR_MAX_BYTES: Final = 255
LATE_TAGS_MAX: Final = 65_536  # deliveries of a channel that went back unsettled: settling a later one is no error
CHANNELS_MAX: Final = 2047
