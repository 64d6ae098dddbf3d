"""What a simulation shows in the end: checks, a page, plots and tables. It knows none of the simulations."""
