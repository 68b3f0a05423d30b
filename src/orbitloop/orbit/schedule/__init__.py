"""Who talks to whom, when: the planning of contacts.

Belongs here: the problem as columns (`problem`), what a plan is worth (`value`), whether it is one (`check`), the ways to find
it (`heuristic`, `exact`, `policies`), how far from the best it can be at most (`bounds`), and how it is repaired (`replan`).
Never here: orbits (passes come in), files, clocks, what a contact is used for once it is planned.

What is maximised. Byte b of class c, captured at t_b, is worth w_c when it is down, less w_c / D_c for each second that it was
not; D_c is the class's patience. Summed over all bytes, by Little's law,

    V = sum over satellites and classes of  w (B - (1/D) * integral of Q(t) dt),      value-weighted bytes,

with B the bytes delivered within the horizon and Q(t) what is captured and not down yet, what a full store has lost included.
So late bytes are worth less, lost ones pay to the end, and the order within a class does not matter. Up to a constant that no
plan changes this is the sum over contacts of w (1 + (T - e) / D) bytes, e the contact's end and T the horizon's: that sum, the
gain over silence, is what solvers add up and what their gaps are shares of. w carries the tenant's weight.
"""
