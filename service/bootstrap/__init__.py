"""The composition root: the only place that names concrete stores and joins them to use cases."""
