"""Makes tests/servers.py importable from every test folder."""
