"""The personalized homepage: candidate generation, scoring, re-ranking, over live state that follows the log."""
