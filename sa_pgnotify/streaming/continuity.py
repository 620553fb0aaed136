"""Whether a stream still has what was handled before, or has lost its last messages.

A stream without replicas loses its last messages when the power of its server fails, and a stream
that was restored from a backup lacks those that came after it. The stream then gives their numbers
to other messages. So a place also has the time at which the broker stored its message, because no
other message of that number has the same time.
"""

from __future__ import annotations

from .places import Place
from .stream_client import StreamClient, StreamState

__all__ = ["goes_on"]


def goes_on(place: Place, client: StreamClient, state: StreamState) -> tuple[int, str]:
    """Return the number of the message after which to continue, and why messages are missing there;
    an empty text if none are.

    If messages were lost, those stored later than the last handled one have not been handled, so
    the first of these is the next one.
    """
    if place.created != state.created:
        return state.first - 1, f"the stream was created again at {state.created}"
    if place.sequence > state.last:
        lost = f"the stream ends at message {state.last}, and message {place.sequence} had been handled"
    elif place.stored and place.sequence >= state.first:
        found = client.message_from(place.sequence)
        # A message that was removed alone, as by max_msgs_per_subject, cannot be compared.
        if found is None or found[0] != place.sequence or found[1] == place.stored:
            return place.sequence, ""
        lost = (
            f"message {place.sequence} is not the one that had been handled: the stream has lost its last messages, and has given "
            "their numbers to others"
        )
    else:
        return place.sequence, ""
    return (client.first_after(place.stored, state) - 1 if place.stored else state.last), lost
