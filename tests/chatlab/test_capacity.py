"""How many people the chat carries: what its log line says ends it, and what the forecast says of AWS."""

import psutil

from chatlab import capacity, waterfall
from chatlab.limits import Quotas
from loadtest import results


def test_what_ends_it_in_the_local_cloud_is_read_from_the_functions_log_line(chat, tmp_path, monkeypatch):
    monkeypatch.setattr(psutil, "cpu_percent", lambda: 50.0)  # however busy the tests are
    search = capacity.of_chat(chat, tmp_path, capacity.Goal(within_s=0.01, rate=5), minutes=0.2)
    assert 0 < search.connection_rate <= 180  # 0.9 of what notebook 04's stage takes
    found = search.run()
    assert found.low is None
    assert found.steps[0].limit.endswith("in the local cloud's one process")

    # AWS alone refuses posts with 429.
    (folder,) = tmp_path.glob("01-*")
    result, read = results.load(folder), waterfall.read_log
    monkeypatch.setattr(waterfall, "read_log", lambda *of: [line | {"throttled": 7} for line in read(*of)])
    assert "refused " in (limit := search.explain(result, 5)) and " posts with 429" in limit


def test_on_aws_the_forecast_says_how_many_what_ends_it_and_what_it_costs(chat):
    quotas = Quotas(10_000, 500, 1_000, {})
    assert capacity.on_aws(chat, capacity.Goal(), quotas) == (
        "On AWS it is about 7,700 people, computed with AWS's default quotas: what ends it is the account's request "
        "quota. There such a room costs about 28.59 US dollars an hour."
    )
    often = capacity.on_aws(chat, capacity.Goal(within_s=5, rate=10), quotas)
    assert "about 800 people" in often and "request quota" in often
    few = capacity.on_aws(chat, capacity.Goal(rate=2_000), Quotas(1e9, 500, 10, {}))
    assert "Lambda's concurrency" in few
