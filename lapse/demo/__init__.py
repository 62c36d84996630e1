"""`lapse demo`: a small company's traffic for a minute, watched live, then checked from outside."""
