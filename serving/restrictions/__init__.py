"""What moderation forbids or lowers: the newest verdicts about posts, as answers look them up."""
