"""The methods that IPAD's Table 2 compares with."""
