"""One module a command: each builds the parts, hands them to the workflow and returns an exit code."""
