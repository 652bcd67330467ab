"""The router's own core in virtual time: arrivals, handle times, patience, shifts and lost lines, all drawn from a seed."""
