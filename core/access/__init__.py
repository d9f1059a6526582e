"""Who may call what: roles, signed tokens, the keys they are signed with, and how our own processes show theirs."""
