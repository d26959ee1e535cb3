"""The return of a crowd, against what can be computed by hand."""

import pytest

from chatlab.storm import come_back
from loadtest.storm import POLICIES


def test_those_who_try_all_the_time_are_back_as_soon_as_the_quota_allows():
    found = come_back(10_000, POLICIES["at-once"])
    assert found.p99_s == pytest.approx((9_900 - 500) / 500, rel=0.05)
    slow = come_back(10_000, POLICIES["at-once"], concurrency=10, connect_s=0.05)  # ten invocations take 200 a second
    assert slow.all_s == pytest.approx(10_000 / 200, rel=0.05)


def test_waves_let_in_one_bucket_each_and_all_others_have_come_in_vain():
    # All 1,000 come within a moment, once a second: the bucket has filled again with 100 then.
    found = come_back(1_000, POLICIES["fixed"], 100, attempt_s=0.001)
    assert found.half_s == pytest.approx(5, rel=0.05) and found.all_s == pytest.approx(10, rel=0.05)
    assert found.handshakes_per_person == pytest.approx(5.5, rel=0.05)


def test_a_million_people_are_computed_as_thousands_with_their_share():
    small, large = come_back(4_000, POLICIES["page"], 20), come_back(1_000_000, POLICIES["page"], 5_000)
    assert large.p99_s == pytest.approx(small.p99_s, rel=0.05)
    assert large.handshakes_per_person == pytest.approx(small.handshakes_per_person, rel=0.05)


def test_of_the_policies_that_bring_10_000_people_back_soon_the_pages_makes_the_fewest_handshakes():
    found = {name: come_back(10_000, policy) for name, policy in POLICIES.items()}
    soonest_s = min(each.p99_s for each in found.values())
    soon = {name: each.handshakes_per_person for name, each in found.items() if each.p99_s < 1.2 * soonest_s}
    assert min(soon, key=soon.__getitem__) == "page", found
    assert soon["page"] < soon["fixed"] / 2 < soon["at-once"] / 10
