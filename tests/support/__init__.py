"""What several tests need: strategies, helpers, faults to plant."""
