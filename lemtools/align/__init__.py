"""Maps between spaces of vectors, learnt from pairs: where a vector of space A lies in space B, and back.

A map is a function of `pairs.Paired` that answers with a `maps.Map`, and a row of the catalogue (catalogue/maps.py). NumPy alone,
float64 in every fit.

    pairs      Paired: means, covariances and a sample of pairs, in one pass over them
    maps       Map: what a map is kept as, one matrix or a set of anchors each way
    linear     procrustes, ridge, cca: one whitening, rotation and weighting with other numbers
    relative   cosines to anchors, and the weighted mean of the other side's
    hub        one space for several at once, and how one more joins it
    dictionary self-learning: few pairs, and vectors of each side without partners
    unpaired   no pairs: many starts, and whether the best is more than chance
    clouds     the rounds of it: soft neighbours, and the map that they make
    choose     auto: the map that does best on pairs left out
"""
