"""The rooms that use a finished model: pictures in, faces with action units and emotion out."""
