"""Whose fault is a 429? API Gateway answers so where the account's quota is used up, and also where one connection's
buffer is full, since its client does not read.

The answer does not tell the two apart, and they ask for opposite things: a quota has to slow the broadcast down, and a
client that does not read must slow down nobody but itself. What tells them apart is whom it meets. A quota refuses
anybody, and not for ever; a full buffer refuses one and the same connection each time, while others are taken.
https://docs.aws.amazon.com/botocore/latest/reference/services/apigatewaymanagementapi/client/exceptions/LimitExceededException.html
"""

from collections import deque

# Of the last so many connections' first posts, this many have to be refused before the quota is taken to be used up.
# Where a quota really is, half of them are refused, and a few posts later it is known.
RECENT, CORROBORATED = 20, 5
# Who was refused more often than this says nothing more about the quota: of what it refuses, most are taken next time.
TELLING = 3
# How likely it is, at the least and at the most, that the quota refuses a post: the share of those refused lately,
# within these bounds. So 15 to 30 refusals in a row are no accident any more, which takes 3 to 6 s.
LEAST, MOST, ACCIDENT = 0.25, 0.5, 1e-9
FIRST_PAUSE_S, PAUSE_S = 0.05, 0.2  # until a post that was refused is tried again


class Throttles:
    """What the refused posts of one broadcast tell. A post has `refused`, how often it was, and `chance`."""

    def __init__(self):
        self._recent = deque(maxlen=RECENT)
        self.is_limited = False
        """Whether the quota was used up, once at least."""

    def taken(self, post):
        """A post got another answer than 429."""
        if not post.refused:
            self._recent.append(False)

    def refused(self, post):
        """A post was answered 429; whether that tells of the quota, and the rate has to fall."""
        if not post.refused:
            self._recent.append(True)
        share = sum(self._recent) / len(self._recent)
        post.refused += 1
        post.chance *= min(MOST, max(LEAST, share))
        tells = post.refused <= TELLING and (self.is_limited or sum(self._recent) >= CORROBORATED)
        self.is_limited |= tells
        return tells

    @staticmethod
    def is_its_own(post):
        """Whether it is the connection that refuses, and no quota: its client does not read."""
        return post.chance < ACCIDENT

    @staticmethod
    def pause_s(post):
        """Seconds until a post that was refused is tried again."""
        return min(PAUSE_S, FIRST_PAUSE_S * 2 ** (post.refused - 1))
