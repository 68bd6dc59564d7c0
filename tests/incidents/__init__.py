"""Scripted incidents: a real service is broken, and a real Prometheus with our rules must tell."""
