"""The ground half of the loop: data sets, intake, labelling, training, gate, release."""
