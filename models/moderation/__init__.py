"""Harmful content: the models that score posts, the policy that decides, what is known to be harmful."""
