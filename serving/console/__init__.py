"""The console's page: a template, a style sheet and a script."""
