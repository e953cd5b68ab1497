"""Objects from any side: cameras, fields of density and colour, and their pictures."""
