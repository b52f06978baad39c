"""Dagster and DVC around instructue's stages: what runs when, what is known of each version, what a person sees."""
