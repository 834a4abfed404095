"""Tests of exports, with the libraries that read them."""
