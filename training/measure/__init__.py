"""What a network is worth, in figures with their intervals, and whether two forms of it agree."""
