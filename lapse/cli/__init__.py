"""The command line: every verb, each with help that teaches, `-o table|json` and stable exit codes."""
