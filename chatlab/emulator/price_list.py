"""A price list as AWS's Price List API answers it: the services that the lab uses, in any Region.

The numbers of us-east-1 are those of AWS's pricing pages; all others are a fifth dearer, which is invented, so that one
sees that they were read.
"""

import json

US_DOLLARS = {
    "AmazonApiGateway": {
        "ApiGatewayRequest": 3.50e-6,
        "ApiGatewayMessage": 1.00e-6,
        "ApiGatewayMinute": 0.25e-6,
    },
    "AWSLambda": {
        "Lambda-Provisioned-GB-Second-ARM": 0.0000097222,
        "Request": 0.20e-6,
        "Request-ARM": 0.20e-6,
        "Lambda-GB-Second": 0.0000166667,
        "Lambda-GB-Second-ARM": 0.0000133334,
    },
    "AmazonDynamoDB": {  # tables of the class Infrequent Access, and global ones, first
        "IA-ReadRequestUnits": 0.155e-6,
        "IA-WriteRequestUnits": 0.78e-6,
        "ReplWriteRequestUnits": 0.625e-6,
        "ReadRequestUnits": 0.125e-6,
        "WriteRequestUnits": 0.625e-6,
    },
    "AmazonCloudWatch": {
        "DataProcessingIA-Bytes": 0.25,
        "DataProcessing-Bytes": 0.50,
        "CW:MetricMonitorUsage": 0.30,
    },
}
"""By service and usage, of one of each, in us-east-1."""
DEARER = 1.2  # elsewhere
PAGE = 2  # products an answer. AWS's have up to 100; these have a next page, too
PUBLISHED = "2026-11-01T00:00:00Z"


def get_products(request: dict) -> dict:
    """What GetProducts answers to a request: products as JSON texts in a list, and `NextToken` if there are more."""
    wanted = {each["Field"]: each["Value"] for each in request.get("Filters", [])}
    region, start = wanted.get("regionCode", "us-east-1"), int(request.get("NextToken", 0))
    products = [
        _product(request["ServiceCode"], usage, region, dollars)
        for usage, dollars in US_DOLLARS.get(request["ServiceCode"], {}).items()
    ]
    more = {"NextToken": str(start + PAGE)} if start + PAGE < len(products) else {}
    return {"FormatVersion": "aws_v1", "PriceList": products[start : start + PAGE], **more}


def _product(service, usage, region, dollars):
    """One as AWS writes it, with a free first tier where the usage has one."""
    code = "" if region == "us-east-1" and service != "AmazonApiGateway" else f"{_short_code(region)}-"
    dollars = dollars if region == "us-east-1" else dollars * DEARER
    free = 5 if usage == "DataProcessing-Bytes" else 0
    sku = f"{service}.{code}{usage}"
    tiers = [(0, free, 0.0), (free, "Inf", dollars)] if free else [(0, "Inf", dollars)]
    dimensions = {
        f"{sku}.tier{number}": {
            "rateCode": f"{sku}.tier{number}",
            "beginRange": str(begin),
            "endRange": str(end),
            "unit": "Units",
            "pricePerUnit": {"USD": f"{each:.10f}"},
            "appliesTo": [],
        }
        for number, (begin, end, each) in enumerate(tiers)
    }
    return json.dumps(
        {
            "product": {
                "sku": sku,
                "attributes": {
                    "servicecode": service,
                    "regionCode": region,
                    "locationType": "AWS Region",
                    "usagetype": f"{code}{usage}",
                },
            },
            "serviceCode": service,
            "terms": {"OnDemand": {f"{sku}.term": {"sku": sku, "priceDimensions": dimensions}}},
            "version": "20261101000000",
            "publicationDate": PUBLISHED,
        }
    )


def _short_code(region):
    """As AWS abbreviates a Region: USE1, EUC1, APS1; and EU, for the first one in Europe."""
    if region == "eu-west-1":
        return "EU"
    area, side, number = region.split("-")[-3:]
    sides = {"northeast": "N", "southeast": "S", "south": "S", "north": "N", "central": "C", "east": "E", "west": "W"}
    return f"{area}{sides[side]}{number}".upper()
