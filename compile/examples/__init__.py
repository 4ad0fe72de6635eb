"""A small trained network to try things with: handwritten digits of 16x16 pixels, and a seven."""
