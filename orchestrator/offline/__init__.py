"""What frozen SAM says of every image of a data set, computed once before training and stored beside it."""
