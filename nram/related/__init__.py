"""What else could have learned the tasks: an LSTM, stack RNNs, an NTM, a diagonal Neural GPU."""
