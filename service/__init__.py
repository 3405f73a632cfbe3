"""The runtime: serves artefacts over HTTP; imports neither torch nor the two sibling packages."""
