"""Building blocks for running the gateway on one machine: Postfix, name server, mailbox and SMTP client."""
