"""How fast it is: measured times, limits and targets."""
