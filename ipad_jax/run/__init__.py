"""What any program here needs: config, files, processes, clocks."""
