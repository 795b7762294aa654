"""Which of several runs is better: finding them, holding them against each other, tables, figures and page."""
