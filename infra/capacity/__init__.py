"""How much of everything a load needs, from what one of each was measured to cost."""
