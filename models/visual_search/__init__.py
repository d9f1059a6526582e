"""Visual search: an image encoder trained so that pictures of the same thing lie close together."""
