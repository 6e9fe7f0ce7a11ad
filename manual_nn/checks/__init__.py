"""What is refused: arguments that do not fit, and numbers that are not finite."""
