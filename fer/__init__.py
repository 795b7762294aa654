"""Train, judge and use one network that reads action units and the emotion off a face picture."""

__version__ = "0.1.0"
