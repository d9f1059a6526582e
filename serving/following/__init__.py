"""Following the log: a state in memory that is kept equal to topics, whatever the state is."""
