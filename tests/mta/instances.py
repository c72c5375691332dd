"""The appliance's form of Postfix as a private instance, on free ports."""

from dataclasses import replace
from pathlib import Path

from appliance.lab.ports import free_ports
from appliance.lab.postfix_config import FILTER_ENDPOINT, AppliancePostfix
from appliance.mta.configuration import Configuration


def appliance_below(directory: Path, configuration: Configuration) -> AppliancePostfix:
    """An instance whose filter is expected below its queue, unless the configuration has none."""
    smtp, release, report = free_ports(3)
    if configuration.filter_endpoint:
        configuration = replace(configuration, filter_endpoint=FILTER_ENDPOINT)
    return AppliancePostfix(
        directory=directory / "postfix",
        smtp_port=smtp,
        release_port=release,
        report_port=report,
        configuration=configuration,
    )
