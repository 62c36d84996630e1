"""The key endpoint: processors ask for keys at the moment of use, and say what became of their copies."""
