"""The HTTP API: a FastAPI application made by `create_api` from collaborators that somebody else opened."""
