//! What is rounded for bf16, as data.

use super::super::dce;
use super::super::tests::graph;
use crate::graph::text::print;
use crate::graph::verify::verify;

/// What is rounded for bf16: name of the case, what goes in, what comes out. `loss` is the forward pass.
const ROUNDED: &[(&str, &str, &str)] = &[
    (
        "factors of a product over examples, the weight once",
        "%0 = input @x : f32[batch, 4]  %1 = param @w : f32[4, 8]  %2 = contract ab,bc->ac %0, %1 : f32[batch, 8]
         %3 = map exp %2 : f32[batch, 8]  %4 = permute [1, 0] %1 : f32[8, 4]  %5 = contract ab,bc->ac %3, %4 : f32[batch, 4]  output loss = %5",
        "%0 = input @x : f32[batch, 4]  %1 = cast %0 : bf16[batch, 4]  %2 = param @w : f32[4, 8]  %3 = cast %2 : bf16[4, 8]
         %4 = contract ab,bc->ac %1, %3 : f32[batch, 8]  %5 = map exp %4 : f32[batch, 8]  %6 = cast %5 : bf16[batch, 8]
         %7 = permute [1, 0] %3 : bf16[8, 4]  %8 = contract ab,bc->ac %6, %7 : f32[batch, 4]  output loss = %8",
    ),
    (
        "neither an optimizer's product nor a dot product",
        "%0 = param @w : f32[4, 4]  %1 = contract ab,cb->ac %0, %0 : f32[4, 4]  %2 = input @x : f32[batch, 4]  %3 = param @v : f32[4]
         %4 = contract ab,b->a %2, %3 : f32[batch]  output loss = %4  update %0 <- %1",
        "%0 = param @w : f32[4, 4]  %1 = contract ab,cb->ac %0, %0 : f32[4, 4]  %2 = input @x : f32[batch, 4]  %3 = param @v : f32[4]
         %4 = contract ab,b->a %2, %3 : f32[batch]  output loss = %4  update %0 <- %1",
    ),
    (
        "what is kept for the backward pass, and what that sums over examples",
        "%0 = input @x : f32[batch, 4]  %1 = param @b : f32[4]  %2 = map exp %0 : f32[batch, 4]  %3 = reduce sum [0, 1] %2 : f32[]
         %4 = map neg %2 : f32[batch, 4]  %5 = reduce sum [0] %4 : f32[4]  output loss = %3  update %1 <- %5",
        "%0 = input @x : f32[batch, 4]  %1 = param @b : f32[4]  %2 = map exp %0 : f32[batch, 4]  %3 = cast %2 : bf16[batch, 4]
         %4 = reduce sum [0, 1] %2 : f32[]  %5 = cast %3 : f32[batch, 4]  %6 = map neg %5 : f32[batch, 4]  %7 = cast %6 : bf16[batch, 4]
         %8 = cast %7 : f32[batch, 4]  %9 = reduce sum [0] %8 : f32[4]  output loss = %4  update %1 <- %9",
    ),
    (
        "what is compared with 0 may be rounded, what is compared with its maximum not; nor is a statistic",
        "%0 = input @x : f32[batch, 4]  %1 = param @b : f32[batch, 4]  %2 = map exp %0 : f32[batch, 4]  %3 = map sin %0 : f32[batch, 4]
         %4 = reduce max [1] %2 : f32[batch]  %5 = map add %2, %3 : f32[batch, 4]  %6 = broadcast [0] %4 : f32[batch, 4]
         %7 = map eq %2, %6 : bool[batch, 4]  %8 = const 0.0 : f32[]  %9 = broadcast [] %8 : f32[batch, 4]
         %10 = map gt %3, %9 : bool[batch, 4]  %11 = map and %7, %10 : bool[batch, 4]  %12 = map select %11, %6, %9 : f32[batch, 4]
         output loss = %5  output m = %4  update %1 <- %12",
        "%0 = input @x : f32[batch, 4]  %1 = param @b : f32[batch, 4]  %2 = map exp %0 : f32[batch, 4]  %3 = map sin %0 : f32[batch, 4]
         %4 = cast %3 : bf16[batch, 4]  %5 = reduce max [1] %2 : f32[batch]  %6 = map add %2, %3 : f32[batch, 4]
         %7 = broadcast [0] %5 : f32[batch, 4]  %8 = map eq %2, %7 : bool[batch, 4]  %9 = const 0.0 : f32[]
         %10 = broadcast [] %9 : f32[batch, 4]  %11 = cast %4 : f32[batch, 4]  %12 = map gt %11, %10 : bool[batch, 4]
         %13 = map and %8, %12 : bool[batch, 4]  %14 = map select %13, %7, %10 : f32[batch, 4]  output loss = %6  output m = %5  update %1 <- %14",
    ),
    (
        "what is a function of what is kept, in a few steps and not as a difference from a statistic, is made of that",
        "%0 = input @x : f32[batch, 4]  %1 = param @b : f32[batch, 4]  %2 = map tanh %0 : f32[batch, 4]  %3 = map neg %2 : f32[batch, 4]
         %4 = map mul %3, %3 : f32[batch, 4]  %5 = map exp %2 : f32[batch, 4]  %6 = map exp %5 : f32[batch, 4]
         %7 = reduce max [1] %2 : f32[batch]  %8 = broadcast [0] %7 : f32[batch, 4]  %9 = map sub %2, %8 : f32[batch, 4]
         %10 = map add %3, %4 : f32[batch, 4]  %11 = map add %6, %9 : f32[batch, 4]  %12 = map add %10, %11 : f32[batch, 4]
         %13 = map neg %4 : f32[batch, 4]  %14 = map mul %13, %3 : f32[batch, 4]  %15 = map mul %6, %9 : f32[batch, 4]
         %16 = map mul %14, %15 : f32[batch, 4]  output loss = %12  update %1 <- %16",
        "%0 = input @x : f32[batch, 4]  %1 = param @b : f32[batch, 4]  %2 = map tanh %0 : f32[batch, 4]  %3 = map neg %2 : f32[batch, 4]
         %4 = cast %3 : bf16[batch, 4]  %5 = map mul %3, %3 : f32[batch, 4]  %6 = map exp %2 : f32[batch, 4]
         %7 = map exp %6 : f32[batch, 4]  %8 = cast %7 : bf16[batch, 4]  %9 = reduce max [1] %2 : f32[batch]
         %10 = broadcast [0] %9 : f32[batch, 4]  %11 = map sub %2, %10 : f32[batch, 4]  %12 = cast %11 : bf16[batch, 4]
         %13 = map add %3, %5 : f32[batch, 4]  %14 = map add %7, %11 : f32[batch, 4]  %15 = map add %13, %14 : f32[batch, 4]
         %16 = cast %4 : f32[batch, 4]  %17 = map mul %16, %16 : f32[batch, 4]  %18 = map neg %17 : f32[batch, 4]
         %19 = cast %4 : f32[batch, 4]  %20 = map mul %18, %19 : f32[batch, 4]  %21 = cast %8 : f32[batch, 4]
         %22 = cast %12 : f32[batch, 4]  %23 = map mul %21, %22 : f32[batch, 4]  %24 = map mul %20, %23 : f32[batch, 4]
         output loss = %15  update %1 <- %24",
    ),
    (
        "what is compared with 0 is not computed again, which might change its sign",
        "%0 = input @x : f32[batch, 4]  %1 = param @b : f32[batch, 4]  %2 = map tanh %0 : f32[batch, 4]  %3 = const 0.5 : f32[]
         %4 = broadcast [] %3 : f32[batch, 4]  %5 = map add %2, %4 : f32[batch, 4]  %6 = const 0.0 : f32[]
         %7 = broadcast [] %6 : f32[batch, 4]  %8 = map gt %5, %7 : bool[batch, 4]  %9 = map select %8, %2, %7 : f32[batch, 4]
         output loss = %5  update %1 <- %9",
        "%0 = input @x : f32[batch, 4]  %1 = param @b : f32[batch, 4]  %2 = map tanh %0 : f32[batch, 4]  %3 = cast %2 : bf16[batch, 4]
         %4 = const 0.5 : f32[]  %5 = broadcast [] %4 : f32[batch, 4]  %6 = map add %2, %5 : f32[batch, 4]
         %7 = cast %6 : bf16[batch, 4]  %8 = const 0.0 : f32[]  %9 = broadcast [] %8 : f32[batch, 4]
         %10 = cast %7 : f32[batch, 4]  %11 = map gt %10, %9 : bool[batch, 4]  %12 = cast %3 : f32[batch, 4]
         %13 = map select %11, %12, %9 : f32[batch, 4]  output loss = %6  update %1 <- %13",
    ),
    (
        "of two functions of one value that value, seen through a view",
        "%0 = input @x : f32[batch, 4]  %1 = param @b : f32[4, batch]  %2 = map tanh %0 : f32[batch, 4]  %3 = map neg %2 : f32[batch, 4]
         %4 = map exp %2 : f32[batch, 4]  %5 = map add %3, %4 : f32[batch, 4]  %6 = permute [1, 0] %4 : f32[4, batch]
         %7 = permute [1, 0] %3 : f32[4, batch]  %8 = map mul %6, %7 : f32[4, batch]  output loss = %5  update %1 <- %8",
        "%0 = input @x : f32[batch, 4]  %1 = param @b : f32[4, batch]  %2 = map tanh %0 : f32[batch, 4]  %3 = cast %2 : bf16[batch, 4]
         %4 = map neg %2 : f32[batch, 4]  %5 = map exp %2 : f32[batch, 4]  %6 = map add %4, %5 : f32[batch, 4]
         %7 = cast %3 : f32[batch, 4]  %8 = map exp %7 : f32[batch, 4]  %9 = permute [1, 0] %8 : f32[4, batch]
         %10 = map neg %7 : f32[batch, 4]  %11 = permute [1, 0] %10 : f32[4, batch]  %12 = map mul %9, %11 : f32[4, batch]
         output loss = %6  update %1 <- %12",
    ),
];

#[test]
fn what_is_rounded_for_bf16() {
    for (case, from, to) in ROUNDED {
        let before = graph(from);
        verify(&before).unwrap_or_else(|e| panic!("{case}: {e}"));
        let mut after = super::run(&before);
        dce::run(&mut after);
        verify(&after).unwrap_or_else(|e| panic!("{case}: {e}"));
        assert_eq!(print(&after, false), print(&graph(to), false), "{case}");
    }
}
