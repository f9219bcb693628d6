//! Answers of `fit` at 80 and 120 columns.
