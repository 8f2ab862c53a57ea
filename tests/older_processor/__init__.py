"""A command on a processor of before 2019, at full speed: `python -m tests.older_processor python -m pytest`."""
