"""The exercises of notebook 05: what a dollar pays, how long a browser keeps a file, and who may read an object."""

from collections.abc import Callable
from typing import Any

from chatlab.cost import PRICES
from chatlab.exercises.answer import Answer, forgiving, not_yet, right
from chatlab.lab import Lab

GET_DOLLARS = 0.0004 / 1_000  # S3, us-east-1
HASHED, OTHERS = "public, max-age=31536000, immutable", "no-cache"
PRIVATE = "private/"

PAGE, NEIGHBOUR, ASSET = (
    f"arn:aws:s3:::bucket/{key}" for key in ("index.html", "private/neighbour.txt", "assets/a.js")
)
ALLOW = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject"}


@forgiving
def check_visits(lab: Lab, visits: float) -> Answer:
    """How many first visits to the page a dollar pays, behind the free 100 GB: each fetches every file once."""
    pages = lab.client("s3").get_paginator("list_objects_v2").paginate(Bucket=lab.bucket)
    sizes = [found["Size"] for page in pages for found in page["Contents"] if not found["Key"].startswith(PRIVATE)]
    dollars = visits * (len(sizes) * GET_DOLLARS + sum(sizes) / 1e9 * PRICES["GB out"])
    if dollars > 1.001:
        return not_yet(f"{visits:,.0f} visits cost {dollars:.2f} dollars.")
    if dollars < 0.95:
        return not_yet(f"{visits:,.0f} visits cost {dollars:.4f} dollars: more of them are in one.")
    return right(f"{len(sizes)} requests and {sum(sizes):,} bytes a visit; nothing runs while nobody comes.")


@forgiving
def check_cache_control(lab: Lab, cache_control: Callable[[str], str | None]) -> Answer:
    """How long a browser may keep a file, by its key."""
    cases = {
        "index.html": OTHERS, "assets/index-B7f3x2.js": HASHED, "assets/index-Cq81.css": HASHED,
        "favicon.svg": OTHERS, "old-assets/index.html": OTHERS, PRIVATE + "assets/note.txt": OTHERS,
    }  # fmt: skip
    for key, expected in cases.items():
        found = cache_control(key)
        if found != expected:
            return not_yet(f'{key} needs "{expected}", and you say "{found}".')
    return right(
        "a new build has new names for what changed, so the old may stay; only what names them is asked for again."
    )


@forgiving
def check_may_read(lab: Lab, may_read: Callable[[dict[str, Any], str], bool | None]) -> Answer:
    """Whether a bucket's policy lets a stranger read an object."""
    deny = {"Effect": "Deny", "Principal": {"AWS": "*"}, "Action": "s3:*"}
    somebody = {"AWS": "arn:aws:iam::111122223333:role/editor"}
    cases: list[tuple[str, list[dict[str, Any]], str, bool]] = [
        ("the page's own policy", [ALLOW | {"Resource": [PAGE, ASSET]}], ASSET, True),
        ("the page's own policy", [ALLOW | {"Resource": [PAGE, ASSET]}], NEIGHBOUR, False),
        ("no statement at all", [], PAGE, False),
        ("one resource, not a list", [ALLOW | {"Resource": PAGE}], PAGE, True),
        ("a wildcard for all assets", [ALLOW | {"Resource": "arn:aws:s3:::bucket/assets/*"}], ASSET, True),
        ("everyone as {'AWS': '*'}", [ALLOW | {"Principal": {"AWS": "*"}, "Resource": PAGE}], PAGE, True),
        ("somebody else's permission", [ALLOW | {"Principal": somebody, "Resource": PAGE}], PAGE, False),
        ("another action", [ALLOW | {"Action": ["s3:PutObject"], "Resource": PAGE}], PAGE, False),
        ("s3:* and all objects", [ALLOW | {"Action": "s3:*", "Resource": "arn:aws:s3:::bucket/*"}], NEIGHBOUR, True),
        ("Deny beside Allow", [ALLOW | {"Resource": PAGE}, deny | {"Resource": "arn:aws:s3:::*"}], PAGE, False),
    ]
    for what, statements, arn, expected in cases:
        found = may_read({"Version": "2012-10-17", "Statement": statements}, arn)
        if bool(found) != expected or found is None:
            answer = "may" if expected else "may not"
            return not_yet(f"{what}: a stranger {answer} read {arn.partition('/')[2]}, and you say {found}.")
    return right("nothing is allowed unless a statement says so, and one Deny outweighs every Allow.")
