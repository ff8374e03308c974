"""Many runs as one job: variants x prompts x seeds, each cell an ordinary training in a process of its own, into one table."""
