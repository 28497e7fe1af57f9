"""Training from input-output pairs (section 4.1, appendix B)."""
