"""The engine: one Prefect flow a batch, and what a person sees of it."""
