"""What the notebooks are going to create: its names, its prices, and how it is removed again."""

from chatlab import ledger
from chatlab.capacity import cost
from chatlab.capacity.prices import read_prices
from chatlab.lab import Lab


def planned_resources(lab: Lab, with_alarm: bool = False) -> list[dict[str, str]]:
    """A list of dicts, for `lab.show`: one for each kind of resource. Prices are in US dollars.

    `with_alarm`: with the budget that notebook 00 creates if EMAIL is set.

    How long each takes is what AWS's users report, rounded up; nothing of this was measured on AWS.
    """
    prices = read_prices(lab)

    def a_million(what: str) -> str:
        return f"{prices[what] * 1e6:.3g} a million"

    nothing = "nothing"
    rows = [
        ("01", "table", lab.table, nothing, f"{a_million('DynamoDB write units')} writes", "10 s", "delete_table"),
        ("02", "role with its policies", lab.role, nothing, nothing, "15 s until Lambda may use it", "delete_role"),
        (
            "03", "three functions", ", ".join(lab.functions.values()), nothing,
            f"{a_million('Lambda requests')} calls, {a_million('Lambda GB-seconds')} GB-seconds", "10 s",
            "delete_function",
        ),
        (
            "03", "three log groups", ", ".join(lab.log_groups.values()), nothing,
            f"{prices['log GB']:.3g} a GB, kept for a day; {cost.METRICS} metrics at {prices['metric months']:.3g} a "
            "month, for the hours of use", "1 s", "delete_log_group",
        ),
        (
            "04", "WebSocket API with its stage", lab.api, nothing,
            f"{a_million('WebSocket messages')} messages, {a_million('connection minutes')} connection minutes", "10 s",
            "delete_api",
        ),
        (
            "05", "bucket with the page", lab.bucket, "less than a cent a month", "0.005 a thousand uploads",
            "10 s, and the page's build", "delete_bucket",
        ),
    ]  # fmt: skip
    rows.append(
        (
            "08", "index of the table, while you work on it", f"{lab.table}/index/room", nothing,
            f"{a_million('DynamoDB write units')} writes", "minutes", "delete_table; 08 itself by update_table",
        )
    )  # fmt: skip
    if hours := ledger.lifetime_hours():
        switch = f"{lab.switch}, {lab.switch_role}"
        what = f"schedule that removes the stage after {hours:g} hours, and its role"
        rows.append(("04", what, switch, nothing, nothing, "15 s", "delete_schedule_group, delete_role"))
    if with_alarm:
        rows.insert(0, ("00", "budget with an alarm by e-mail", lab.alarm, nothing, nothing, "1 s", "delete_budget"))
    tag = " ".join(f"{key}={value}" for key, value in lab.tags.items())
    keys = ("notebook", "what", "name", "while nobody talks", "in use", "takes about", "99 removes it by")
    return [dict(zip(keys, row, strict=True)) | {"tags": tag} for row in rows]
