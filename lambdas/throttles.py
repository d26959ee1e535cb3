"""Whose fault is a 429? API Gateway answers so where the account's quota is used up, and also where one connection's
buffer is full, since its client does not read: a slow consumer.

The response does not tell the two apart, and they ask for opposite things: a quota has to slow the broadcast down, and
a slow consumer must slow down nobody but itself. What tells them apart is which posts are throttled. A quota throttles
any of them, and not for ever; a full buffer throttles one and the same connection each time, while others are accepted.
https://docs.aws.amazon.com/botocore/latest/reference/services/apigatewaymanagementapi/client/exceptions/LimitExceededException.html
"""

from collections import deque

from post_queue import Post

# Of the last so many connections' first posts, this many have to be throttled before the quota counts as used up. Where
# a quota really is, half of them are throttled, and a few posts later it is known.
RECENT_POSTS, MIN_THROTTLED = 20, 5
# A post that was throttled more often than this says nothing more about the quota, which accepts most at a second try.
MAX_INFORMATIVE_THROTTLES = 3
# The share of posts that the quota throttles: what was seen lately, within these bounds.
MIN_THROTTLED_SHARE, MAX_THROTTLED_SHARE = 0.25, 0.5
# Below this p-value, the throttles of one connection are not the quota's. That takes 15 to 30 in a row, 3 to 6 s.
SIGNIFICANCE = 1e-9
BASE_BACKOFF_S, MAX_BACKOFF_S = 0.05, 0.2  # until a throttled post is tried again


class ThrottleClassifier:
    """Tells the throttles of the quota from those of slow consumers, in one broadcast."""

    def __init__(self) -> None:
        self._recent: deque[bool] = deque(maxlen=RECENT_POSTS)
        self.is_quota_exhausted = False
        """Whether the quota was used up, once at least."""

    def accepted(self, post: Post) -> None:
        """A post got another response than 429."""
        if not post.throttles:
            self._recent.append(False)

    def throttled(self, post: Post) -> bool:
        """A post got a 429; whether that is the quota's, and the rate has to fall."""
        if not post.throttles:
            self._recent.append(True)
        share = sum(self._recent) / len(self._recent)
        post.throttles += 1
        post.p_value *= min(MAX_THROTTLED_SHARE, max(MIN_THROTTLED_SHARE, share))
        is_quota = post.throttles <= MAX_INFORMATIVE_THROTTLES and (
            self.is_quota_exhausted or sum(self._recent) >= MIN_THROTTLED
        )
        self.is_quota_exhausted |= is_quota
        return is_quota

    @staticmethod
    def is_slow_consumer(post: Post) -> bool:
        """Whether it is the connection that throttles this post, and no quota: its client does not read."""
        return post.p_value < SIGNIFICANCE

    @staticmethod
    def backoff_s(post: Post) -> float:
        """Seconds until a throttled post is tried again."""
        return min(MAX_BACKOFF_S, BASE_BACKOFF_S * 2.0 ** (post.throttles - 1))
