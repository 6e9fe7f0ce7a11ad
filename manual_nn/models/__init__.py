"""What strings layers together."""
