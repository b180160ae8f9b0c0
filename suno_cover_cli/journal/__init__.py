"""What is written down: jobs, runs, recorded callbacks."""
