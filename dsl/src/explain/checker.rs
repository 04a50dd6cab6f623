//! The long form of what the checker says: E02xx names and calls, E03xx shapes and types, E04xx parameters,
//! gradients and optimizers, E05xx train blocks and data, W06xx warnings. Rows in the order of their codes.

use super::Explanation;

pub(super) static ROWS: &[Explanation] = &[];
