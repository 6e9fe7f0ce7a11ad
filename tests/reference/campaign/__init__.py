"""Tests of reference.campaign.cases."""
