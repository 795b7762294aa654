"""What is in a data set: its findings, tables, figures, faces and page."""
