"""The gateway's mail transfer agent, Postfix: its configuration, written once for the appliance, the lab and the tests."""
