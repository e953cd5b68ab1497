"""Tables 2, 3 and 4 of the paper: their rows, plans, cells, averages and pages."""
