"""What the tests would catch: changes of the code, one at a time."""
