"""Folders and tables of faces in, batches of pixels and labels out."""
