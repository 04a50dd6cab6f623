//! What each pass makes of what, as text.

/// Pass, name of the case, what goes in, what comes out. Dead nodes are left out of what comes out.
pub const CASES: &[(&str, &str, &str, &str)] = &[
    (
        "pick",
        "the element at a label",
        "%0 = input @x : f32[batch, 3]  %1 = input @l : i32[batch]  %2 = broadcast [0] %1 : i32[batch, 3]  %3 = iota 1 : i32[batch, 3]
         %4 = map eq %2, %3 : bool[batch, 3]  %5 = cast %4 : f32[batch, 3]  %6 = map exp %0 : f32[batch, 3]  %7 = map mul %6, %5 : f32[batch, 3]
         %8 = reduce sum [0, 1] %7 : f32[]  output y = %8",
        "%0 = input @x : f32[batch, 3]  %1 = input @l : i32[batch]  %2 = gather 1 batch 1 %0, %1 : f32[batch]  %3 = map exp %2 : f32[batch]
         %4 = const 0.0 : i32[]  %5 = broadcast [] %4 : i32[batch]  %6 = const 3.0 : i32[]  %7 = broadcast [] %6 : i32[batch]
         %8 = map ge %1, %5 : bool[batch]  %9 = map lt %1, %7 : bool[batch]  %10 = map and %8, %9 : bool[batch]
         %11 = const 0.0 : f32[]  %12 = broadcast [] %11 : f32[batch]  %13 = map select %10, %3, %12 : f32[batch]
         %14 = reduce sum [0] %13 : f32[]  output y = %14",
    ),
    (
        "pick",
        "a label that moves along the axis is none",
        "%0 = input @x : f32[batch, 3]  %1 = input @l : i32[3]  %2 = broadcast [1] %1 : i32[batch, 3]  %3 = iota 1 : i32[batch, 3]
         %4 = map eq %2, %3 : bool[batch, 3]  %5 = cast %4 : f32[batch, 3]  %6 = map mul %0, %5 : f32[batch, 3]
         %7 = reduce sum [0, 1] %6 : f32[]  output y = %7",
        "%0 = input @x : f32[batch, 3]  %1 = input @l : i32[3]  %2 = broadcast [1] %1 : i32[batch, 3]  %3 = iota 1 : i32[batch, 3]
         %4 = map eq %2, %3 : bool[batch, 3]  %5 = cast %4 : f32[batch, 3]  %6 = map mul %0, %5 : f32[batch, 3]
         %7 = reduce sum [0, 1] %6 : f32[]  output y = %7",
    ),
    (
        "pick",
        "a negative one",
        "%0 = input @c : f32[]  %1 = input @l : i32[batch]  %2 = broadcast [0] %1 : i32[batch, 3]  %3 = iota 1 : i32[batch, 3]
         %4 = map eq %2, %3 : bool[batch, 3]  %5 = cast %4 : f32[batch, 3]  %6 = broadcast [] %0 : f32[batch, 3]
         %7 = map mul %6, %5 : f32[batch, 3]  %8 = map neg %7 : f32[batch, 3]  %9 = reduce sum [1] %8 : f32[batch]  output y = %9",
        "%0 = input @c : f32[]  %1 = input @l : i32[batch]  %2 = broadcast [] %0 : f32[batch]  %3 = map neg %2 : f32[batch]
         %4 = const 0.0 : i32[]  %5 = broadcast [] %4 : i32[batch]  %6 = const 3.0 : i32[]  %7 = broadcast [] %6 : i32[batch]
         %8 = map ge %1, %5 : bool[batch]  %9 = map lt %1, %7 : bool[batch]  %10 = map and %8, %9 : bool[batch]
         %11 = const 0.0 : f32[]  %12 = broadcast [] %11 : f32[batch]  %13 = map select %10, %3, %12 : f32[batch]  output y = %13",
    ),
    (
        "join",
        "pieces that fill an axis, and another term",
        "%0 = input @a : f32[batch, 2]  %1 = input @b : f32[batch, 3]  %2 = input @c : f32[batch, 5]
         %3 = pad [0, 3] step [1, 1] %0 : f32[batch, 5]  %4 = pad [0, 0] step [1, 1] %1 : f32[batch, 5]
         %5 = map add %3, %2 : f32[batch, 5]  %6 = map add %5, %4 : f32[batch, 5]  output y = %6",
        "%0 = input @a : f32[batch, 2]  %1 = input @b : f32[batch, 3]  %2 = input @c : f32[batch, 5]
         %3 = concat 1 %1, %0 : f32[batch, 5]  %4 = map add %3, %2 : f32[batch, 5]  output y = %4",
    ),
    (
        "join",
        "a sum beside them stays one",
        "%0 = input @a : f32[2]  %1 = input @b : f32[3]  %2 = input @c : f32[5]  %3 = input @d : f32[5]  %4 = map add %2, %3 : f32[5]
         %5 = pad [3] step [1] %0 : f32[5]  %6 = map add %5, %4 : f32[5]  %7 = pad [0] step [1] %1 : f32[5]  %8 = map add %6, %7 : f32[5]
         output y = %8  output z = %4",
        "%0 = input @a : f32[2]  %1 = input @b : f32[3]  %2 = input @c : f32[5]  %3 = input @d : f32[5]  %4 = map add %2, %3 : f32[5]
         %5 = concat 0 %1, %0 : f32[5]  %6 = map add %5, %4 : f32[5]  output y = %6  output z = %4",
    ),
    (
        "join",
        "not pieces with a gap, nor one over another",
        "%0 = input @a : f32[batch, 2]  %1 = input @b : f32[batch, 3]
         %2 = pad [0, 3] step [1, 1] %0 : f32[batch, 6]  %3 = pad [0, 0] step [1, 1] %1 : f32[batch, 6]
         %4 = map add %2, %3 : f32[batch, 6]  %5 = pad [0, 2] step [1, 1] %0 : f32[batch, 5]  %6 = pad [0, 0] step [1, 1] %1 : f32[batch, 5]
         %7 = map add %5, %6 : f32[batch, 5]  output y = %4  output z = %7",
        "%0 = input @a : f32[batch, 2]  %1 = input @b : f32[batch, 3]
         %2 = pad [0, 3] step [1, 1] %0 : f32[batch, 6]  %3 = pad [0, 0] step [1, 1] %1 : f32[batch, 6]
         %4 = map add %2, %3 : f32[batch, 6]  %5 = pad [0, 2] step [1, 1] %0 : f32[batch, 5]  %6 = pad [0, 0] step [1, 1] %1 : f32[batch, 5]
         %7 = map add %5, %6 : f32[batch, 5]  output y = %4  output z = %7",
    ),
    (
        "terms",
        "what is centred sums to 0, and another sum is there",
        "%0 = input @x : f32[batch, 5]  %1 = reduce sum [1] %0 : f32[batch]  %2 = const 0.2 : f32[]  %3 = broadcast [] %2 : f32[batch]
         %4 = map mul %1, %3 : f32[batch]  %5 = broadcast [0] %4 : f32[batch, 5]  %6 = map sub %0, %5 : f32[batch, 5]
         %7 = input @g : f32[batch, 5]  %8 = reduce sum [1] %7 : f32[batch]  %9 = input @s : f32[batch]  %10 = broadcast [0] %9 : f32[batch, 5]
         %11 = map mul %7, %10 : f32[batch, 5]  %12 = map mul %6, %10 : f32[batch, 5]  %13 = map add %11, %12 : f32[batch, 5]
         %14 = map neg %13 : f32[batch, 5]  %15 = reduce sum [1] %14 : f32[batch]  output a = %8  output b = %15",
        "%0 = input @g : f32[batch, 5]  %1 = reduce sum [1] %0 : f32[batch]  %2 = input @s : f32[batch]
         %3 = map mul %1, %2 : f32[batch]  %4 = map neg %3 : f32[batch]  output a = %1  output b = %4",
    ),
    (
        "terms",
        "a mean over examples; one sum is made",
        "%0 = input @x : f32[batch, 5]  %1 = reduce sum [0] %0 : f32[5]  %2 = size batch : f32[]  %3 = const 1.0 : f32[]
         %4 = map div %3, %2 : f32[]  %5 = broadcast [] %4 : f32[5]  %6 = map mul %5, %1 : f32[5]  %7 = broadcast [1] %6 : f32[batch, 5]
         %8 = map sub %0, %7 : f32[batch, 5]  %9 = input @g : f32[batch, 5]  %10 = map sub %8, %9 : f32[batch, 5]
         %11 = reduce sum [0] %10 : f32[5]  output y = %11",
        "%0 = input @g : f32[batch, 5]  %1 = reduce sum [0] %0 : f32[5]  %2 = map neg %1 : f32[5]  output y = %2",
    ),
    (
        "terms",
        "a sum with some of the factors is there",
        "%0 = input @x : f32[batch, 5]  %1 = input @g : f32[batch, 5]  %2 = input @r : f32[5]  %3 = broadcast [1] %2 : f32[batch, 5]
         %4 = map mul %0, %3 : f32[batch, 5]  %5 = map mul %1, %4 : f32[batch, 5]  %6 = map neg %5 : f32[batch, 5]  %7 = reduce sum [0] %6 : f32[5]
         %8 = map mul %4, %3 : f32[batch, 5]  %9 = map mul %8, %1 : f32[batch, 5]  %10 = reduce sum [0] %9 : f32[5]  output a = %7  output b = %10",
        "%0 = input @x : f32[batch, 5]  %1 = input @g : f32[batch, 5]  %2 = input @r : f32[5]  %3 = broadcast [1] %2 : f32[batch, 5]
         %4 = map mul %0, %3 : f32[batch, 5]  %5 = map mul %1, %4 : f32[batch, 5]  %6 = map neg %5 : f32[batch, 5]  %7 = reduce sum [0] %6 : f32[5]
         %8 = map mul %7, %2 : f32[5]  %9 = map neg %8 : f32[5]  output a = %7  output b = %9",
    ),
    (
        "terms",
        "not a difference, of which both sums are there",
        "%0 = input @x : f32[batch, 5]  %1 = input @y : f32[batch, 5]  %2 = reduce sum [1] %0 : f32[batch]  %3 = reduce sum [1] %1 : f32[batch]
         %4 = map sub %0, %1 : f32[batch, 5]  %5 = reduce sum [1] %4 : f32[batch]  output a = %2  output b = %3  output c = %5",
        "%0 = input @x : f32[batch, 5]  %1 = input @y : f32[batch, 5]  %2 = reduce sum [1] %0 : f32[batch]  %3 = reduce sum [1] %1 : f32[batch]
         %4 = map sub %0, %1 : f32[batch, 5]  %5 = reduce sum [1] %4 : f32[batch]  output a = %2  output b = %3  output c = %5",
    ),
    (
        "terms",
        "not where two sums would be made, nor of another mean",
        "%0 = input @x : f32[batch, 5]  %1 = input @y : f32[batch, 5]  %2 = map add %0, %1 : f32[batch, 5]  %3 = reduce sum [1] %2 : f32[batch]
         %4 = reduce sum [1] %0 : f32[batch]  %5 = const 0.25 : f32[]  %6 = broadcast [] %5 : f32[batch]  %7 = map mul %4, %6 : f32[batch]
         %8 = broadcast [0] %7 : f32[batch, 5]  %9 = map mul %1, %1 : f32[batch, 5]  %10 = map sub %9, %8 : f32[batch, 5]
         %11 = reduce sum [1] %10 : f32[batch]  output a = %3  output b = %11",
        "%0 = input @x : f32[batch, 5]  %1 = input @y : f32[batch, 5]  %2 = map add %0, %1 : f32[batch, 5]  %3 = reduce sum [1] %2 : f32[batch]
         %4 = reduce sum [1] %0 : f32[batch]  %5 = const 0.25 : f32[]  %6 = broadcast [] %5 : f32[batch]  %7 = map mul %4, %6 : f32[batch]
         %8 = broadcast [0] %7 : f32[batch, 5]  %9 = map mul %1, %1 : f32[batch, 5]  %10 = map sub %9, %8 : f32[batch, 5]
         %11 = reduce sum [1] %10 : f32[batch]  output a = %3  output b = %11",
    ),
    (
        "hoist",
        "what a product's side is multiplied with, where the result is smaller",
        "%0 = input @p : f32[batch, 5, 7]  %1 = input @r : f32[5, batch]  %2 = permute [1, 0] %1 : f32[batch, 5]
         %3 = broadcast [0, 1] %2 : f32[batch, 5, 7]  %4 = map mul %0, %3 : f32[batch, 5, 7]  %5 = input @v : f32[batch, 7, 2]
         %6 = contract abc,acd->bad %4, %5 : f32[5, batch, 2]  output y = %6",
        "%0 = input @p : f32[batch, 5, 7]  %1 = input @r : f32[5, batch]  %2 = permute [1, 0] %1 : f32[batch, 5]
         %3 = input @v : f32[batch, 7, 2]  %4 = permute [1, 0] %2 : f32[5, batch]  %5 = contract abc,acd->bad %0, %3 : f32[5, batch, 2]
         %6 = broadcast [0, 1] %4 : f32[5, batch, 2]  %7 = map mul %5, %6 : f32[5, batch, 2]  output y = %7",
    ),
    (
        "hoist",
        "not what moves along the sum, nor where the result is larger",
        "%0 = input @p : f32[batch, 7]  %1 = input @r : f32[7]  %2 = broadcast [1] %1 : f32[batch, 7]  %3 = map mul %0, %2 : f32[batch, 7]
         %4 = input @v : f32[7, 2]  %5 = contract ab,bc->ac %3, %4 : f32[batch, 2]  %6 = input @s : f32[batch]
         %7 = broadcast [0] %6 : f32[batch, 7]  %8 = map mul %0, %7 : f32[batch, 7]  %9 = input @w : f32[7, 9]
         %10 = contract ab,bc->ac %8, %9 : f32[batch, 9]  output y = %5  output z = %10",
        "%0 = input @p : f32[batch, 7]  %1 = input @r : f32[7]  %2 = broadcast [1] %1 : f32[batch, 7]  %3 = map mul %0, %2 : f32[batch, 7]
         %4 = input @v : f32[7, 2]  %5 = contract ab,bc->ac %3, %4 : f32[batch, 2]  %6 = input @s : f32[batch]
         %7 = broadcast [0] %6 : f32[batch, 7]  %8 = map mul %0, %7 : f32[batch, 7]  %9 = input @w : f32[7, 9]
         %10 = contract ab,bc->ac %8, %9 : f32[batch, 9]  output y = %5  output z = %10",
    ),
    (
        "regroup",
        "a sum of weights times their gradients",
        "%0 = input @e : f32[batch, 5, 7]  %1 = input @v : f32[batch, 7, 2]  %2 = input @g : f32[batch, 5, 2]
         %3 = contract abc,acd->abd %0, %1 : f32[batch, 5, 2]  %4 = contract xyd,xzd->xyz %2, %1 : f32[batch, 5, 7]
         %5 = input @r : f32[batch, 5]  %6 = broadcast [0, 1] %5 : f32[batch, 5, 7]  %7 = map mul %4, %6 : f32[batch, 5, 7]
         %8 = map mul %7, %0 : f32[batch, 5, 7]  %9 = map neg %8 : f32[batch, 5, 7]  %10 = reduce sum [2] %9 : f32[batch, 5]
         output y = %3  output d = %10",
        "%0 = input @e : f32[batch, 5, 7]  %1 = input @v : f32[batch, 7, 2]  %2 = input @g : f32[batch, 5, 2]
         %3 = contract abc,acd->abd %0, %1 : f32[batch, 5, 2]  %4 = input @r : f32[batch, 5]  %5 = map mul %2, %3 : f32[batch, 5, 2]
         %6 = reduce sum [2] %5 : f32[batch, 5]  %7 = map neg %6 : f32[batch, 5]  %8 = map mul %7, %4 : f32[batch, 5]
         output y = %3  output d = %8",
    ),
    (
        "regroup",
        "not where the other grouping is of other values",
        "%0 = input @e : f32[batch, 5, 7]  %1 = input @v : f32[batch, 7, 2]  %2 = input @g : f32[batch, 5, 2]  %3 = input @w : f32[batch, 7, 2]
         %4 = contract abc,acd->abd %0, %3 : f32[batch, 5, 2]  %5 = contract abd,acd->abc %2, %1 : f32[batch, 5, 7]
         %6 = map mul %5, %0 : f32[batch, 5, 7]  %7 = reduce sum [2] %6 : f32[batch, 5]  output y = %4  output d = %7",
        "%0 = input @e : f32[batch, 5, 7]  %1 = input @v : f32[batch, 7, 2]  %2 = input @g : f32[batch, 5, 2]  %3 = input @w : f32[batch, 7, 2]
         %4 = contract abc,acd->abd %0, %3 : f32[batch, 5, 2]  %5 = contract abd,acd->abc %2, %1 : f32[batch, 5, 7]
         %6 = map mul %5, %0 : f32[batch, 5, 7]  %7 = reduce sum [2] %6 : f32[batch, 5]  output y = %4  output d = %7",
    ),
    (
        "fold",
        "a function of numbers",
        "%0 = const 2.0 : f32[]  %1 = const 3.0 : f32[]  %2 = map pow %0, %1 : f32[]  output y = %2",
        "%0 = const 8.0 : f32[]  output y = %0",
    ),
    (
        "fold",
        "a function of stretched numbers is a stretched number",
        "%0 = const 2.0 : f32[]  %1 = broadcast [] %0 : f32[batch, 3]  %2 = map neg %1 : f32[batch, 3]  output y = %2",
        "%0 = const -2.0 : f32[]  %1 = broadcast [] %0 : f32[batch, 3]  output y = %1",
    ),
    (
        "fold",
        "i32 wraps",
        "%0 = const 2147483647.0 : i32[]  %1 = map add %0, %0 : i32[]  output y = %1",
        "%0 = const -2.0 : i32[]  output y = %0",
    ),
    (
        "fold",
        "a cast saturates",
        "%0 = const 300.7 : f32[]  %1 = cast %0 : u8[]  output y = %1",
        "%0 = const 255.0 : u8[]  output y = %0",
    ),
    (
        "fold",
        "a known condition",
        "%0 = const 1.0 : f32[]  %1 = const 0.0 : f32[]  %2 = map lt %0, %1 : bool[]  %3 = input @a : f32[]  %4 = input @b : f32[]
         %5 = map select %2, %3, %4 : f32[]  output y = %5",
        "%0 = input @b : f32[]  output y = %0",
    ),
    (
        "fold",
        "a slice of a number",
        "%0 = const 2.0 : f32[]  %1 = broadcast [] %0 : f32[8]  %2 = slice [2] step [3] %1 : f32[2]  output y = %2",
        "%0 = const 2.0 : f32[]  %1 = broadcast [] %0 : f32[2]  output y = %1",
    ),
    (
        "fold",
        "a pad brings zeros in and stays",
        "%0 = const 2.0 : f32[]  %1 = broadcast [] %0 : f32[2]  %2 = pad [1] step [1] %1 : f32[4]  output y = %2",
        "%0 = const 2.0 : f32[]  %1 = broadcast [] %0 : f32[2]  %2 = pad [1] step [1] %1 : f32[4]  output y = %2",
    ),
    (
        "window",
        "the input's gradient of a convolution",
        "%0 = input @g : f32[batch, 6, 4]  %1 = param @w : f32[3, 2, 4]  %2 = contract npo,tko->nptk %0, %1 : f32[batch, 6, 3, 2]
         %3 = fold 1 stride 1 dilation 1 %2 : f32[batch, 8, 2]  output dx = %3",
        "%0 = input @g : f32[batch, 6, 4]  %1 = param @w : f32[3, 2, 4]  %2 = pad [0, 2, 0] step [1, 1, 1] %0 : f32[batch, 10, 4]
         %3 = window 1 stride 1 dilation 1 %2 : f32[batch, 8, 3, 4]  %4 = flip [0] %1 : f32[3, 2, 4]
         %5 = contract npto,tko->npk %3, %4 : f32[batch, 8, 2]  output dx = %5",
    ),
    (
        "window",
        "of groups that were put together",
        "%0 = input @g : f32[batch, 6, 2, 4]  %1 = param @w : f32[3, 2, 5, 4]  %2 = contract npgo,tgko->nptgk %0, %1 : f32[batch, 6, 3, 2, 5]
         %3 = reshape %2 : f32[batch, 6, 3, 10]  %4 = fold 1 stride 1 dilation 1 %3 : f32[batch, 8, 10]  output dx = %4",
        "%0 = input @g : f32[batch, 6, 2, 4]  %1 = param @w : f32[3, 2, 5, 4]  %2 = pad [0, 2, 0, 0] step [1, 1, 1, 1] %0 : f32[batch, 10, 2, 4]
         %3 = window 1 stride 1 dilation 1 %2 : f32[batch, 8, 3, 2, 4]  %4 = flip [0] %1 : f32[3, 2, 5, 4]
         %5 = contract nptgo,tgko->npgk %3, %4 : f32[batch, 8, 2, 5]  %6 = reshape %5 : f32[batch, 8, 10]  output dx = %6",
    ),
    (
        "window",
        "pieces of which the positions were put together with others are added up",
        "%0 = input @g : f32[batch, 6, 4]  %1 = param @w : f32[3, 2, 4]  %2 = contract npo,tko->nptk %0, %1 : f32[batch, 6, 3, 2]
         %3 = reshape %2 : f32[batch, 3, 2, 6]  %4 = fold 1 stride 2 dilation 1 %3 : f32[batch, 6, 6]  output dx = %4",
        "%0 = input @g : f32[batch, 6, 4]  %1 = param @w : f32[3, 2, 4]  %2 = contract npo,tko->nptk %0, %1 : f32[batch, 6, 3, 2]
         %3 = reshape %2 : f32[batch, 3, 2, 6]  %4 = fold 1 stride 2 dilation 1 %3 : f32[batch, 6, 6]  output dx = %4",
    ),
    (
        "window",
        "at another stride the pieces are added up",
        "%0 = input @g : f32[batch, 3, 4]  %1 = param @w : f32[3, 2, 4]  %2 = contract npo,tko->nptk %0, %1 : f32[batch, 3, 3, 2]
         %3 = fold 1 stride 2 dilation 1 %2 : f32[batch, 8, 2]  output dx = %3",
        "%0 = input @g : f32[batch, 3, 4]  %1 = param @w : f32[3, 2, 4]  %2 = contract npo,tko->nptk %0, %1 : f32[batch, 3, 3, 2]
         %3 = fold 1 stride 2 dilation 1 %2 : f32[batch, 8, 2]  output dx = %3",
    ),
    (
        "views",
        "a pad of a window is a window of a pad",
        "%0 = input @x : f32[batch, 4, 7]  %1 = window 2 stride 1 dilation 1 %0 : f32[batch, 4, 5, 3]
         %2 = pad [0, 2, 0, 0] step [1, 1, 1, 1] %1 : f32[batch, 8, 5, 3]  output y = %2",
        "%0 = input @x : f32[batch, 4, 7]  %1 = pad [0, 2, 0] step [1, 1, 1] %0 : f32[batch, 8, 7]
         %2 = window 2 stride 1 dilation 1 %1 : f32[batch, 8, 5, 3]  output y = %2",
    ),
    (
        "views",
        "pads are one",
        "%0 = input @x : f32[4]  %1 = pad [1] step [2] %0 : f32[9]  %2 = pad [2] step [3] %1 : f32[40]  output y = %2",
        "%0 = input @x : f32[4]  %1 = pad [5] step [6] %0 : f32[40]  output y = %1",
    ),
    (
        "views",
        "a slice of a window reads what its positions reach",
        "%0 = input @x : f32[batch, 9]  %1 = window 1 stride 2 dilation 1 %0 : f32[batch, 4, 3]
         %2 = slice [0, 1, 0] step [1, 1, 1] %1 : f32[batch, 2, 3]  output y = %2",
        "%0 = input @x : f32[batch, 9]  %1 = slice [0, 2] step [1, 1] %0 : f32[batch, 5]
         %2 = window 1 stride 2 dilation 1 %1 : f32[batch, 2, 3]  output y = %2",
    ),
    (
        "views",
        "a slice takes away what a pad brought in",
        "%0 = input @x : f32[batch, 4]  %1 = pad [0, 2] step [1, 1] %0 : f32[batch, 8]
         %2 = slice [0, 1] step [1, 1] %1 : f32[batch, 6]  output y = %2",
        "%0 = input @x : f32[batch, 4]  %1 = pad [0, 1] step [1, 1] %0 : f32[batch, 6]  output y = %1",
    ),
    (
        "views",
        "a slice that cuts elements off stays",
        "%0 = input @x : f32[4]  %1 = pad [2] step [1] %0 : f32[8]  %2 = slice [3] step [1] %1 : f32[4]  output y = %2",
        "%0 = input @x : f32[4]  %1 = pad [2] step [1] %0 : f32[8]  %2 = slice [3] step [1] %1 : f32[4]  output y = %2",
    ),
    (
        "contract",
        "of a result only the slice that is read",
        "%0 = input @x : f32[batch, 6, 3]  %1 = param @w : f32[3, 5]  %2 = contract abc,cd->abd %0, %1 : f32[batch, 6, 5]
         %3 = slice [0, 1, 0] step [1, 2, 1] %2 : f32[batch, 2, 4]  output y = %3",
        "%0 = input @x : f32[batch, 6, 3]  %1 = param @w : f32[3, 5]  %2 = slice [0, 1, 0] step [1, 2, 1] %0 : f32[batch, 2, 3]
         %3 = slice [0, 0] step [1, 1] %1 : f32[3, 4]  %4 = contract abc,cd->abd %2, %3 : f32[batch, 2, 4]  output y = %4",
    ),
    (
        "contract",
        "an axis of size 1 is no label",
        "%0 = input @x : f32[batch, 1, 3]  %1 = param @w : f32[3, 1, 5]  %2 = contract aub,buc->auc %0, %1 : f32[batch, 1, 5]  output y = %2",
        "%0 = input @x : f32[batch, 1, 3]  %1 = param @w : f32[3, 1, 5]  %2 = reshape %0 : f32[batch, 3]  %3 = reshape %1 : f32[3, 5]
         %4 = contract ab,bc->ac %2, %3 : f32[batch, 5]  %5 = reshape %4 : f32[batch, 1, 5]  output y = %5",
    ),
    (
        "scan",
        "the input's product for all turns at once, the carried value's in each; what nobody reads falls away",
        "%0 = input @x : f32[7, batch, 3]  %1 = param @w : f32[3, 4]  %2 = param @u : f32[4, 4]  %3 = input @h : f32[batch, 4]
         %4 = scan [7] slices 1 {
           %0 = state @carry.0 : f32[batch, 4]  %1 = input @slice.0 : f32[batch, 3]  %2 = input @outer.0 : f32[3, 4]
           %3 = input @outer.1 : f32[4, 4]  %4 = contract ab,bc->ac %1, %2 : f32[batch, 4]
           %5 = contract ab,bc->ac %0, %3 : f32[batch, 4]  %6 = map add %4, %5 : f32[batch, 4]  %7 = map tanh %6 : f32[batch, 4]
           output yield.0 = %7  output trace.0 = %0  update %0 <- %7
         } %3, %0, %1, %2 : f32[60 * batch]
         %5 = slice [4 * batch] step [1] %4 : f32[28 * batch]  %6 = reshape %5 : f32[7, batch, 4]  output y = %6",
        "%0 = input @x : f32[7, batch, 3]  %1 = param @w : f32[3, 4]  %2 = param @u : f32[4, 4]  %3 = input @h : f32[batch, 4]
         %4 = contract dab,bc->dac %0, %1 : f32[7, batch, 4]
         %5 = scan [7] slices 1 {
           %0 = state @carry.0 : f32[batch, 4]  %1 = input @slice.0 : f32[batch, 4]  %2 = input @outer.0 : f32[4, 4]
           %3 = contract ab,bc->ac %0, %2 : f32[batch, 4]  %4 = map add %1, %3 : f32[batch, 4]  %5 = map tanh %4 : f32[batch, 4]
           output yield.0 = %5  update %0 <- %5
         } %3, %4, %2 : f32[32 * batch]
         %6 = slice [4 * batch] step [1] %5 : f32[28 * batch]  %7 = reshape %6 : f32[7, batch, 4]
         %8 = reshape %7 : f32[28 * batch]  %9 = reshape %8 : f32[7, batch, 4]  output y = %9",
    ),
    (
        "simplify",
        "nothing added, times one",
        "%0 = input @x : f32[batch]  %1 = const 0.0 : f32[]  %2 = broadcast [] %1 : f32[batch]  %3 = const 1.0 : f32[]
         %4 = broadcast [] %3 : f32[batch]  %5 = map add %2, %0 : f32[batch]  %6 = map mul %5, %4 : f32[batch]  output y = %6",
        "%0 = input @x : f32[batch]  output y = %0",
    ),
    (
        "simplify",
        "the same variable twice is the same node",
        "%0 = input @x : f32[]  %1 = input @z : f32[]  %2 = map max %0, %0 : f32[]  %3 = map max %0, %1 : f32[]  output a = %2  output b = %3",
        "%0 = input @x : f32[]  %1 = input @z : f32[]  %2 = map max %0, %1 : f32[]  output a = %0  output b = %2",
    ),
    (
        "simplify",
        "a square",
        "%0 = input @x : f32[3]  %1 = const 2.0 : f32[]  %2 = broadcast [] %1 : f32[3]  %3 = map pow %0, %2 : f32[3]  output y = %3",
        "%0 = input @x : f32[3]  %1 = map mul %0, %0 : f32[3]  output y = %1",
    ),
    (
        "simplify",
        "minus minus",
        "%0 = input @x : i32[3]  %1 = map neg %0 : i32[3]  %2 = input @z : i32[3]  %3 = map add %2, %1 : i32[3]  output y = %3",
        "%0 = input @x : i32[3]  %1 = input @z : i32[3]  %2 = map sub %1, %0 : i32[3]  output y = %2",
    ),
    (
        "simplify",
        "not the identity's number",
        "%0 = input @x : f32[]  %1 = const 2.0 : f32[]  %2 = map mul %0, %1 : f32[]  output y = %2",
        "%0 = input @x : f32[]  %1 = const 2.0 : f32[]  %2 = map mul %0, %1 : f32[]  output y = %2",
    ),
    (
        "hoist",
        "a scalar's function, once",
        "%0 = input @x : f32[]  %1 = broadcast [] %0 : f32[batch, 4]  %2 = map sqrt %1 : f32[batch, 4]  output y = %2",
        "%0 = input @x : f32[]  %1 = map sqrt %0 : f32[]  %2 = broadcast [] %1 : f32[batch, 4]  output y = %2",
    ),
    (
        "hoist",
        "rows with a scalar",
        "%0 = input @x : f32[batch]  %1 = input @s : f32[]  %2 = broadcast [0] %0 : f32[batch, 4]  %3 = broadcast [] %1 : f32[batch, 4]
         %4 = map mul %2, %3 : f32[batch, 4]  output y = %4",
        "%0 = input @x : f32[batch]  %1 = input @s : f32[]  %2 = broadcast [] %1 : f32[batch]  %3 = map mul %0, %2 : f32[batch]
         %4 = broadcast [0] %3 : f32[batch, 4]  output y = %4",
    ),
    (
        "hoist",
        "rows with columns stay",
        "%0 = input @x : f32[batch]  %1 = input @z : f32[4]  %2 = broadcast [0] %0 : f32[batch, 4]  %3 = broadcast [1] %1 : f32[batch, 4]
         %4 = map mul %2, %3 : f32[batch, 4]  output y = %4",
        "%0 = input @x : f32[batch]  %1 = input @z : f32[4]  %2 = broadcast [0] %0 : f32[batch, 4]  %3 = broadcast [1] %1 : f32[batch, 4]
         %4 = map mul %2, %3 : f32[batch, 4]  output y = %4",
    ),
    (
        "hoist",
        "a reshape comes after",
        "%0 = input @x : f32[batch]  %1 = reshape %0 : f32[batch, 1]  %2 = const 2.0 : f32[]  %3 = broadcast [] %2 : f32[batch, 1]
         %4 = map mul %1, %3 : f32[batch, 1]  output y = %4",
        "%0 = input @x : f32[batch]  %1 = const 2.0 : f32[]  %2 = broadcast [] %1 : f32[batch]  %3 = map mul %0, %2 : f32[batch]
         %4 = reshape %3 : f32[batch, 1]  output y = %4",
    ),
    (
        "hoist",
        "a quotient by a scalar",
        "%0 = input @x : f32[4]  %1 = input @s : f32[]  %2 = broadcast [] %1 : f32[4]  %3 = map div %0, %2 : f32[4]  output y = %3",
        "%0 = input @x : f32[4]  %1 = input @s : f32[]  %2 = const 1.0 : f32[]  %3 = map div %2, %1 : f32[]  %4 = broadcast [] %3 : f32[4]
         %5 = map mul %0, %4 : f32[4]  output y = %5",
    ),
    (
        "reduce",
        "along an axis that was several, these",
        "%0 = input @x : f32[batch, 3, 2, 4]  %1 = reshape %0 : f32[6 * batch, 4]  %2 = reduce sum [0] %1 : f32[4]  output y = %2",
        "%0 = input @x : f32[batch, 3, 2, 4]  %1 = reduce sum [0, 1, 2] %0 : f32[4]  output y = %1",
    ),
    (
        "reduce",
        "a sum of sums",
        "%0 = input @x : f32[batch, 3, 4]  %1 = reduce sum [1] %0 : f32[batch, 4]  %2 = reduce sum [1] %1 : f32[batch]  output y = %2",
        "%0 = input @x : f32[batch, 3, 4]  %1 = reduce sum [1, 2] %0 : f32[batch]  output y = %1",
    ),
    (
        "reduce",
        "a maximum of sums stays",
        "%0 = input @x : f32[batch, 3]  %1 = reduce sum [1] %0 : f32[batch]  %2 = reduce max [0] %1 : f32[]  output y = %2",
        "%0 = input @x : f32[batch, 3]  %1 = reduce sum [1] %0 : f32[batch]  %2 = reduce max [0] %1 : f32[]  output y = %2",
    ),
    (
        "reduce",
        "a sum of equal numbers is a product",
        "%0 = input @x : f32[3]  %1 = broadcast [1] %0 : f32[batch, 3]  %2 = reduce sum [0, 1] %1 : f32[]  output y = %2",
        "%0 = input @x : f32[3]  %1 = reduce sum [0] %0 : f32[]  %2 = size batch : f32[]  %3 = map mul %1, %2 : f32[]  output y = %3",
    ),
    (
        "reduce",
        "the greatest of equal numbers",
        "%0 = input @x : f32[batch]  %1 = broadcast [0] %0 : f32[batch, 3, 2]  %2 = reduce max [1] %1 : f32[batch, 2]  output y = %2",
        "%0 = input @x : f32[batch]  %1 = broadcast [0] %0 : f32[batch, 2]  output y = %1",
    ),
    (
        "reduce",
        "of no numbers there is no greatest",
        "%0 = input @x : f32[2]  %1 = broadcast [0] %0 : f32[2, 0]  %2 = reduce max [1] %1 : f32[2]  output y = %2",
        "%0 = input @x : f32[2]  %1 = broadcast [0] %0 : f32[2, 0]  %2 = reduce max [1] %1 : f32[2]  output y = %2",
    ),
    (
        "reduce",
        "an axis of one element",
        "%0 = input @x : f32[batch, 1, 4]  %1 = reduce sum [1, 2] %0 : f32[batch]  output y = %1",
        "%0 = input @x : f32[batch, 1, 4]  %1 = reshape %0 : f32[batch, 4]  %2 = reduce sum [1] %1 : f32[batch]  output y = %2",
    ),
    (
        "views",
        "there and back",
        "%0 = input @x : f32[2, 3, 4]  %1 = permute [1, 2, 0] %0 : f32[3, 4, 2]  %2 = permute [2, 0, 1] %1 : f32[2, 3, 4]
         %3 = flip [1] %2 : f32[2, 3, 4]  %4 = flip [1] %3 : f32[2, 3, 4]  output y = %4",
        "%0 = input @x : f32[2, 3, 4]  output y = %0",
    ),
    (
        "views",
        "two reshapes",
        "%0 = input @x : f32[6]  %1 = reshape %0 : f32[2, 3]  %2 = reshape %1 : f32[3, 2]  output y = %2",
        "%0 = input @x : f32[6]  %1 = reshape %0 : f32[3, 2]  output y = %1",
    ),
    (
        "views",
        "axes of one element, stretched",
        "%0 = input @x : f32[batch]  %1 = reshape %0 : f32[batch, 1]  %2 = broadcast [0, 2] %1 : f32[batch, 5, 1]  output y = %2",
        "%0 = input @x : f32[batch]  %1 = broadcast [0] %0 : f32[batch, 5, 1]  output y = %1",
    ),
    (
        "views",
        "a broadcast of a broadcast",
        "%0 = input @x : f32[3]  %1 = broadcast [1] %0 : f32[2, 3]  %2 = broadcast [0, 2] %1 : f32[2, 4, 3]  output y = %2",
        "%0 = input @x : f32[3]  %1 = broadcast [2] %0 : f32[2, 4, 3]  output y = %1",
    ),
    (
        "views",
        "a slice of a slice",
        "%0 = input @x : f32[20]  %1 = slice [1] step [2] %0 : f32[8]  %2 = slice [2] step [3] %1 : f32[2]  output y = %2",
        "%0 = input @x : f32[20]  %1 = slice [5] step [6] %0 : f32[2]  output y = %1",
    ),
    (
        "views",
        "a permuted broadcast",
        "%0 = input @x : f32[3]  %1 = broadcast [1] %0 : f32[2, 3]  %2 = permute [1, 0] %1 : f32[3, 2]  output y = %2",
        "%0 = input @x : f32[3]  %1 = broadcast [0] %0 : f32[3, 2]  output y = %1",
    ),
    (
        "views",
        "a gradient's wall is gone",
        "%0 = input @x : f32[3]  %1 = detach %0 : f32[3]  output y = %1",
        "%0 = input @x : f32[3]  output y = %0",
    ),
    (
        "contract",
        "transposed operands",
        "%0 = input @x : f32[3, batch]  %1 = param @w : f32[5, 3]  %2 = permute [1, 0] %0 : f32[batch, 3]  %3 = permute [1, 0] %1 : f32[3, 5]
         %4 = contract ab,bc->ac %2, %3 : f32[batch, 5]  output y = %4",
        "%0 = input @x : f32[3, batch]  %1 = param @w : f32[5, 3]  %2 = contract ba,cb->ac %0, %1 : f32[batch, 5]  output y = %2",
    ),
    (
        "contract",
        "heads before time",
        "%0 = input @x : f32[batch, 7, 2, 4]  %1 = permute [0, 2, 1, 3] %0 : f32[batch, 2, 7, 4]
         %2 = contract bhtd,bhsd->bhts %1, %1 : f32[batch, 2, 7, 7]  output y = %2",
        "%0 = input @x : f32[batch, 7, 2, 4]  %1 = contract bthd,bshd->bhts %0, %0 : f32[batch, 2, 7, 7]  output y = %1",
    ),
    (
        "contract",
        "a transposed result",
        "%0 = input @x : f32[batch, 3]  %1 = param @w : f32[3, 5]  %2 = contract ab,bc->ac %0, %1 : f32[batch, 5]
         %3 = permute [1, 0] %2 : f32[5, batch]  output y = %3",
        "%0 = input @x : f32[batch, 3]  %1 = param @w : f32[3, 5]  %2 = contract ab,bc->ca %0, %1 : f32[5, batch]  output y = %2",
    ),
    (
        "contract",
        "a result that others read as it is",
        "%0 = input @x : f32[batch, 3]  %1 = param @w : f32[3, 5]  %2 = contract ab,bc->ac %0, %1 : f32[batch, 5]
         %3 = permute [1, 0] %2 : f32[5, batch]  output y = %3  output z = %2",
        "%0 = input @x : f32[batch, 3]  %1 = param @w : f32[3, 5]  %2 = contract ab,bc->ac %0, %1 : f32[batch, 5]
         %3 = permute [1, 0] %2 : f32[5, batch]  output y = %3  output z = %2",
    ),
    (
        "cse",
        "twice the same, in either order",
        "%0 = input @x : f32[]  %1 = input @z : f32[]  %2 = map mul %0, %1 : f32[]  %3 = map mul %1, %0 : f32[]  %4 = map sub %2, %3 : f32[]
         output y = %4",
        "%0 = input @x : f32[]  %1 = input @z : f32[]  %2 = map mul %0, %1 : f32[]  %3 = map sub %2, %2 : f32[]  output y = %3",
    ),
    (
        "cse",
        "0 is not -0, and a difference has an order",
        "%0 = const 0.0 : f32[]  %1 = const -0.0 : f32[]  %2 = map sub %0, %1 : f32[]  %3 = map sub %1, %0 : f32[]  output y = %2  output z = %3",
        "%0 = const 0.0 : f32[]  %1 = const -0.0 : f32[]  %2 = map sub %0, %1 : f32[]  %3 = map sub %1, %0 : f32[]  output y = %2  output z = %3",
    ),
    (
        "cse",
        "random numbers of two places differ",
        "%0 = random uniform 0 : f32[4]  %1 = random uniform 1 : f32[4]  %2 = random uniform 0 : f32[4]  output a = %0  output b = %1  output c = %2",
        "%0 = random uniform 0 : f32[4]  %1 = random uniform 1 : f32[4]  output a = %0  output b = %1  output c = %0",
    ),
    (
        "dce",
        "what nobody reads",
        "%0 = input @x : f32[]  %1 = map exp %0 : f32[]  %2 = state @n : f32[]  %3 = map neg %2 : f32[]  update %2 <- %3",
        "%0 = state @n : f32[]  %1 = map neg %0 : f32[]  update %0 <- %1",
    ),
];
