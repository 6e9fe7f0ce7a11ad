"""The layers' figures: how long their passes take, what they keep, how they are proven."""
