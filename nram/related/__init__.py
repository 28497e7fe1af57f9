"""What else could have learned the tasks: other systems under one protocol, and a variant of the machine.

tokens.py      the tasks as sequences of tokens, from the machine's own samples
lstm.py        a plain LSTM
stack_rnn.py   the stack-augmented RNN, with one or two stacks of vectors
ntm.py         the Neural Turing Machine
dngpu.py       the diagonal Neural GPU
adamax.py      the optimizer of the latter
systems.py     how each is made and trained
training.py    fresh sequences up to 15, a number of seconds, the best model on held-out ones
measure.py     fit and reach, on the same sequences for all
opponent.py    the machine under the same clock
attention.py   the machine with attention over its modules
"""
