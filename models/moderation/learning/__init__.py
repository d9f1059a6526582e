"""Learning from what people say of posts: reports teach, people's decisions ask, a gate decides."""
