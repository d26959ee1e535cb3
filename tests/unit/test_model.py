"""The model against what can be computed by hand, and against itself."""

from dataclasses import replace

import pytest

from chatlab.capacity import model, plot, simulation

# Nothing but the limit that a test is about: no variation, and everything else at once.
PLAIN = replace(
    model.DEFAULT, arrive_ms=0, post_variation=0, page_ms=0, item_ms=0, invoke_ms=0, begin_ms=0, cold_ms=0,
    requests_per_s=1e9, timeout_s=1e6, in_flight=32, first_under_way=32_000, cpu_ms=1e-6, opening_ms=1e-6,
    opening_wait_ms=0, check_ms=0, share=1.0,
)  # fmt: skip


@pytest.mark.parametrize("connections", [1, 32, 33, 1_000, 20_000])
def test_posting_takes_as_many_turns_as_are_needed(connections):
    p = replace(PLAIN, kept=32)
    turns = -(-connections // p.in_flight)
    assert simulation.simulate(p, connections).last_s == pytest.approx(turns * p.post_ms / 1000, rel=1e-3)


@pytest.mark.parametrize("shards", [1, 4, 10])
def test_shards_divide_the_posting(shards):
    assert simulation.simulate(PLAIN, 32_000, shards).last_s == pytest.approx(10 / shards, rel=0.02)


@pytest.mark.parametrize("connections", [64_000, 320_000, 1_000_000])
def test_the_steady_state_goes_on(connections):
    assert simulation.simulate(PLAIN, connections).last_s == pytest.approx(connections / PLAIN.posts_per_s, rel=0.01)


def test_little_memory_is_little_cpu():
    small = replace(PLAIN, memory_mb=256, cpu_ms=0.1)
    assert small.posts_per_s == pytest.approx(256 / 1769 / 0.1 * 1000)
    assert simulation.simulate(small, 10_000).last_s == pytest.approx(10_000 / small.posts_per_s, rel=0.03)
    assert replace(small, memory_mb=3_538).cpu == 1, "one thread can't use a second CPU"


def test_reading_takes_of_the_cpu_that_posts_have():
    p = replace(PLAIN, cpu_ms=0.06, item_ms=0.04, in_flight=400, post_ms=1)
    assert simulation.simulate(p, 50_000).last_s == pytest.approx(5, rel=0.03)


def test_at_first_few_posts_are_under_way_and_each_that_is_taken_allows_one_more():
    p = replace(PLAIN, first_under_way=4, in_flight=1_000)
    # 4, 8, 16, ... at a time: six turns until all 252 have left
    assert simulation.simulate(p, 252).last_s == pytest.approx(0.06, rel=0.01)


def test_connections_are_opened_as_long_as_one_more_pays_off():
    # 100 posts of 10 ms are worth 1,000 ms: with k of them open, one more saves 1,000/k(k + 1) ms, and costs 1
    p = replace(PLAIN, opening_ms=1.0, in_flight=1_000)
    opened = 31
    turns = -(-100 // opened)
    assert simulation.simulate(p, 100).last_s == pytest.approx(opened * 0.001 + turns * 0.01, rel=0.03)
    assert simulation.simulate(replace(p, opening_ms=1e-6), 100).last_s == pytest.approx(0.01, rel=0.01)


def test_of_a_small_room_that_is_talked_to_for_the_first_time_opening_connections_is_most():
    assert model.limits(model.DEFAULT, 1_000).idxmax() == "opening connections"
    assert model.limits(replace(model.DEFAULT, kept=400), 1_000)["opening connections"] == 0


def test_a_connection_that_is_kept_need_not_be_opened():
    p = replace(PLAIN, opening_wait_ms=100, in_flight=50)
    assert simulation.simulate(p, 50).last_s == pytest.approx(0.11, rel=0.01)
    assert simulation.simulate(replace(p, kept=50), 50).last_s == pytest.approx(0.01, rel=0.01)


def test_who_always_fails_is_given_up_after_four_attempts_and_nobody_else():
    p = replace(PLAIN, errors=0.02)
    outcome = simulation.simulate(p, 10_000)
    assert (outcome.delivered, outcome.failed, outcome.unreached) == (9_800, 200, 0)
    assert outcome.last_s < outcome.done_s < outcome.last_s + 7.1  # backoff: up to 1, 2 and 4 s


def test_where_everything_fails_each_post_has_four_attempts():
    p = replace(PLAIN, errors=0.9999, in_flight=1)
    outcome = simulation.simulate(p, 1_000)
    assert outcome.failed >= 999
    assert outcome.done_s == pytest.approx(4 * 1_000 * p.post_ms / 1000, rel=0.05)


@pytest.mark.parametrize("connections", [20_000, 30_000])
def test_posts_leave_at_the_broadcasts_share_of_the_quota(connections):
    p = replace(PLAIN, requests_per_s=10_000, share=0.8, post_ms=1)  # three times as fast as the quota
    for shards in (1, 10):
        outcome = simulation.simulate(p, connections, shards)
        assert outcome.last_s == pytest.approx(connections / 8_000, abs=0.01)
        assert outcome.delivered == connections


def test_far_above_the_quota_nobody_is_lost_as_long_as_there_is_time():
    p = replace(PLAIN, requests_per_s=10_000, hand_over_s=0, reserve_s=0)
    outcome = simulation.simulate(p, 1_000_000, shards=100)
    assert outcome.delivered == 1_000_000
    assert outcome.last_s == pytest.approx(100, rel=0.01)
    short = simulation.simulate(replace(p, timeout_s=60), 1_000_000, shards=100)
    assert short.unreached == pytest.approx(400_000, rel=0.02)
    assert short.delivered + short.unreached == 1_000_000


@pytest.mark.parametrize("connections", [19_200, 192_000])
def test_a_time_out_leaves_the_rest_unreached(connections):
    p = replace(PLAIN, timeout_s=5, hand_over_s=0, reserve_s=2)
    outcome = simulation.simulate(p, connections)
    assert outcome.delivered == pytest.approx(9_600, rel=0.01)
    assert outcome.delivered + outcome.unreached == connections
    assert outcome.last_s == pytest.approx(3, rel=0.01)
    assert outcome.done_s == 3


def test_who_is_handed_over_has_an_invocations_whole_time():
    p = replace(PLAIN, timeout_s=20, hand_over_s=10, reserve_s=2)
    assert simulation.simulate(p, 3_200 * 28 - 100).unreached == 0
    assert simulation.simulate(p, 3_200 * 30).unreached == pytest.approx(6_400, rel=0.05)


def test_reading_binds_where_it_is_slow():
    p = replace(PLAIN, page_ms=100, largest_page=100, page_growth=1)
    assert simulation.simulate(p, 3_000).last_s == pytest.approx(30 * 0.1 + 4 * 0.01, rel=0.02)
    assert model.limits(p, 3_000).idxmax() == "reading the table"


def test_shards_begin_when_they_were_asked_for_and_are_warm():
    p = replace(PLAIN, invoke_ms=20, begin_ms=50, cold_ms=600)
    assert model.started_s(p, 0) == 0
    assert model.started_s(p, 1) == model.started_s(p, 16) == pytest.approx(0.67)
    assert model.started_s(p, 17) == pytest.approx(0.69)
    assert simulation.simulate(p, 64, shards=2).last_s == pytest.approx(0.68)


def test_beyond_lambdas_concurrency_the_next_thousand_wait_ten_seconds():
    assert model.started_s(PLAIN, 999) == 0
    assert model.started_s(PLAIN, 1_000) == 10
    assert model.started_s(PLAIN, 2_000) == 20


def test_a_million_people_connect_in_half_an_hour():
    assert model.connect_s(model.DEFAULT, 1_000_000) == 2_000


@pytest.mark.parametrize("shards", [1, 10, 100])
@pytest.mark.parametrize("connections", [1_000, 100_000])
def test_no_limit_alone_is_above_the_whole(connections, shards):
    whole = simulation.simulate(model.DEFAULT, connections, shards).last_s
    assert model.limits(model.DEFAULT, connections, shards).max() <= whole * 1.05


def test_the_same_seed_gives_the_same_and_another_seed_nearly():
    one, again, other = (simulation.simulate(model.DEFAULT, 20_000, 10, seed).last_s for seed in (1, 1, 2))
    assert one == again != other
    assert other == pytest.approx(one, rel=0.05), "a sweep takes one seed"


def test_a_sweep_is_a_row_for_each_pair_with_a_band():
    table = simulation.sweep(model.DEFAULT, [100, 1_000], [1, 10])
    assert table[["connections", "shards"]].values.tolist() == [[100, 1], [100, 10], [1_000, 1], [1_000, 10]]
    assert table["delivered"].tolist() == [100, 100, 1_000, 1_000]
    for _, row in table.iterrows():
        assert row["low_s"] < row["last_s"] < row["high_s"]
        slow = replace(model.DEFAULT, post_ms=25)
        assert row["high_s"] == simulation.simulate(slow, row.connections, row.shards, seed=1).last_s
    assert model.DEFAULT.table().loc["requests_per_s", "value"] == 10_000


def test_the_picture_has_a_panel_for_each_table_and_says_what_binds(tmp_path):
    tables = {
        name: simulation.sweep(parameters, [1_000, 30_000], [1, 10], posts_ms=[])
        for name, parameters in {"Default quotas": model.DEFAULT, "Ten times the quotas": model.RAISED}.items()
    }
    figure = plot.forecast(tables, {"29 s": 29})
    assert [axes.get_title(loc="left") for axes in figure.axes] == list(tables)
    said = {text.get_text() for text in figure.legends[0].get_texts()}
    assert {"1 invocation", "10 invocations", "bound by posting", "bound by the account's request quota"} <= said
    figure.savefig(tmp_path / "picture.png")
