//! One run, told in order.
