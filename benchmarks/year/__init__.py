"""A simulated year in minutes: a small company's days on the manual clock, watched for what grows."""
