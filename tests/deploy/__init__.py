"""What the tests of the manifests need: a small kustomize, and what a cluster would refuse."""
