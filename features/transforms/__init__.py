"""Feature engineering as pure functions and fitted parameters: numpy in, numpy out, no I/O.

`windows` computes the aggregate features; the rest are the transforms of a value into a model input: `imputation`,
`scaling`, `bucketing`, `encoding` and `hashing`. A fitted transform is a frozen dataclass of plain numbers and
strings, which `parameters` saves as JSON, so that training and serving apply the very same one.
"""
