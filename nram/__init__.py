"""Neural Random-Access Machines: the machine, its ten tasks, training and the programs it learns."""
