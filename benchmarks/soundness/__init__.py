"""How often a right gradient is called wrong, and a wrong one right."""
