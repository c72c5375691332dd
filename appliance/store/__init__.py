"""Everything that is kept: settings, events, facts, quarantine rows, reports, accounts. The only place with SQL."""
