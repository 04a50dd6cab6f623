//! Cases for the graph room: meanings, refusals, round trips. Each table has one check function.

use super::arbitrary::{Wish, random_graph};
use super::interpret::{Env, Tensor, interpret, interpret_step};
use super::rewrite::{Users, copy_node, reachable, rewrite, substitute, use_counts};
use super::text::{parse, print};
use super::verify::{verify, verify_compilable};
use super::{Contraction, Graph, Node, NodeId, Op, Origin, common_shape, dot};
use crate::base::{DType, Dim, TensorType};
use proptest::prelude::*;

fn graph(lines: &str) -> Graph {
    let text = format!("graph {{\n{lines}\n}}");
    parse(&text).unwrap_or_else(|error| panic!("{error} in\n{text}"))
}

/// `x` is [[1, 2, 3], [4, 5, 6]], `v` [10, 20, 30], `i` [2, 0, 7], `k` [[2, 0], [5, 1]], `m` [-1.5, 0, 300, NaN], `big` the extremes of i32; `batch` is 2.
fn env() -> Env {
    let mut env = Env { seed: 7, step: 3, ..Env::default() };
    env.symbols.insert("batch".into(), 2);
    let leaves = [
        ("x", vec![2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
        ("v", vec![3], vec![10.0, 20.0, 30.0]),
        ("i", vec![3], vec![2.0, 0.0, 7.0]),
        ("k", vec![2, 2], vec![2.0, 0.0, 5.0, 1.0]),
        ("m", vec![4], vec![-1.5, 0.0, 300.0, f64::NAN]),
        ("big", vec![2], vec![f64::from(i32::MAX), f64::from(i32::MIN)]),
        ("none", vec![0, 2], vec![]),
    ];
    for (name, shape, data) in leaves {
        env.leaves.insert(name.into(), Tensor::new(shape, data));
    }
    env
}

const X: &str = "%x = input @x : f32[batch, 3]\n";
const V: &str = "%v = param @v : f32[3]\n";
const I: &str = "%i = input @i : i32[3]\n";
const K: &str = "%k = input @k : i32[batch, 2]\n";
const M: &str = "%m = input @m : f32[4]\n";
const BIG: &str = "%b = input @big : i32[2]\n";
const NONE: &str = "%n = input @none : f32[0, 2]\n";

#[test]
fn primitives_mean_what_they_say() {
    // Leaves, then the last node, whose value is expected.
    let cases: &[(&[&str], &str, &str)] = &[
        (&[], "const 0.25 : f32[]", "[] 0.25"),
        (&[], "size 3 * batch + 1 : f32[]", "[] 7"),
        (&[], "iota 1 : i32[2, 3]", "[2, 3] 0 1 2 0 1 2"),
        (&[], "iota 0 : i32[batch, 2]", "[2, 2] 0 0 1 1"),
        (&[X], "map mul %x, %x : f32[batch, 3]", "[2, 3] 1 4 9 16 25 36"),
        (&[X], "map lt %x, %x : bool[batch, 3]", "[2, 3] 0 0 0 0 0 0"),
        (&[I], "map add %i, %i : i32[3]", "[3] 4 0 14"),
        (&[BIG], "map add %b, %b : i32[2]", "[2] -2 0"),
        (&[BIG], "map mul %b, %b : i32[2]", "[2] 1 0"),
        (&[BIG], "reduce sum [0] %b : i32[]", "[] -1"),
        (&[M], "cast %m : i32[4]", "[4] -1 0 300 0"),
        (&[M], "cast %m : u8[4]", "[4] 0 0 255 0"),
        (&[M], "cast %m : bool[4]", "[4] 1 0 1 1"),
        (&[X], "reduce sum [0] %x : f32[3]", "[3] 5 7 9"),
        (&[X], "reduce sum [0, 1] %x : f32[]", "[] 21"),
        (&[X], "reduce max [1] %x : f32[batch]", "[2] 3 6"),
        (&[X], "reduce min [1] %x : f32[batch]", "[2] 1 4"),
        (&[X], "reduce prod [1] %x : f32[batch]", "[2] 6 120"),
        (&[NONE], "reduce sum [0] %n : f32[2]", "[2] 0 0"),
        (&[NONE], "reduce prod [0] %n : f32[2]", "[2] 1 1"),
        (&[NONE], "reduce max [0] %n : f32[2]", "[2] -inf -inf"),
        (&[NONE], "reduce max [1] %n : f32[0]", "[0]"),
        (&[X], "argmax 1 %x : i32[batch]", "[2] 2 2"),
        (&[M], "sort up 0 %m : i32[4]", "[4] 0 1 2 3"),
        (&[X], "sort down 1 %x : i32[batch, 3]", "[2, 3] 2 1 0 2 1 0"),
        (&[X], "sort down 0 %x : i32[batch, 3]", "[2, 3] 1 1 1 0 0 0"),
        (&[I], "sort up 0 %i : i32[3]", "[3] 1 0 2"),
        (&[NONE], "sort up 1 %n : i32[0, 2]", "[0, 2]"),
        (&[X], "contract ab,cb->ac %x, %x : f32[batch, batch]", "[2, 2] 14 32 32 77"),
        (&[X, V], "contract ab,b->a %x, %v : f32[batch]", "[2] 140 320"),
        (&[V], "contract a,b->ba %v, %v : f32[3, 3]", "[3, 3] 100 200 300 200 400 600 300 600 900"),
        (&[V], "contract a,a->a %v, %v : f32[3]", "[3] 100 400 900"),
        (&[NONE], "contract ab,ac->bc %n, %n : f32[2, 2]", "[2, 2] 0 0 0 0"),
        (&[X], "permute [1, 0] %x : f32[3, batch]", "[3, 2] 1 4 2 5 3 6"),
        (&[X], "reshape %x : f32[3 * batch]", "[6] 1 2 3 4 5 6"),
        (&[V], "broadcast [1] %v : f32[2, 3]", "[2, 3] 10 20 30 10 20 30"),
        (&[V], "broadcast [0] %v : f32[3, 2]", "[3, 2] 10 10 20 20 30 30"),
        (&[X], "slice [0, 1] step [1, 1] %x : f32[batch, 2]", "[2, 2] 2 3 5 6"),
        (&[X], "slice [0, 0] step [1, 2] %x : f32[batch, 2]", "[2, 2] 1 3 4 6"),
        (&[V], "pad [1] step [2] %v : f32[7]", "[7] 0 10 0 20 0 30 0"),
        (&[NONE], "pad [1, 0] step [1, 1] %n : f32[2, 2]", "[2, 2] 0 0 0 0"),
        (&[X], "flip [1] %x : f32[batch, 3]", "[2, 3] 3 2 1 6 5 4"),
        (&[X], "flip [0, 1] %x : f32[batch, 3]", "[2, 3] 6 5 4 3 2 1"),
        (&[V], "concat 0 %v, %v : f32[6]", "[6] 10 20 30 10 20 30"),
        (&[X], "concat 1 %x, %x : f32[batch, 6]", "[2, 6] 1 2 3 1 2 3 4 5 6 4 5 6"),
        (&[V, I], "gather 0 %v, %i : f32[3]", "[3] 30 10 NaN"),
        (&[I], "gather 0 %i, %i : i32[3]", "[3] 7 2 0"),
        (&[X, I], "gather 1 %x, %i : f32[batch, 3]", "[2, 3] 3 1 NaN 6 4 NaN"),
        (&[V, I], "scatter_add 0 %i, %v : f32[4]", "[4] 20 0 10 0"),
        (&[X, K], "gather 1 batch 1 %x, %k : f32[batch, 2]", "[2, 2] 3 1 NaN 5"),
        (&[K], "gather 1 batch 1 %k, %k : i32[batch, 2]", "[2, 2] 0 2 0 1"),
        (&[X, K], "gather 1 %x, %k : f32[batch, batch, 2]", "[2, 2, 2] 3 1 NaN 2 6 4 NaN 5"),
        (&[K], "scatter_add 1 batch 1 %k, %k : i32[batch, 3]", "[2, 3] 0 0 2 0 1 0"),
        (&[X, I], "scatter_add 1 %i, %x : f32[batch, 3]", "[2, 3] 2 0 1 5 0 4"),
        (&[V], "detach %v : f32[3]", "[3] 10 20 30"),
    ];
    for (leaves, node, expected) in cases {
        let mut graph = graph(&format!("{}%y = {node}", leaves.concat()));
        verify(&graph).unwrap_or_else(|error| panic!("{node}: {error}"));
        let last = graph.ids().next_back().expect("there is a node");
        graph.outputs.push(("y".into(), last));
        let (outputs, _) = interpret_step(&graph, &env()).unwrap_or_else(|error| panic!("{node}: {error}"));
        let y = &outputs["y"];
        let numbers: Vec<String> = y.data.iter().map(|x| x.to_string()).collect();
        let found = format!("{:?} {}", y.shape, numbers.join(" "));
        assert_eq!(found.trim_end(), *expected, "{node}");
    }
}

#[test]
fn what_has_no_value_says_why() {
    let cases = [
        ("%0 = input @y : f32[]", "%0: @y has no value"),
        ("%0 = input @x : f32[3, 2]", "%0: @x has shape [2, 3], not [3, 2]"),
        ("%0 = input @x : f32[t, 3]", "%0: the size t is not known"),
        ("%0 = size t : f32[]", "%0: the size t is not known"),
        (
            "%0 = input @x : f32[batch, 3]\n%1 = slice [1, 0] step [1, 1] %0 : f32[batch, 3]",
            "%1: axis 0: 1..=2 is outside of size 2",
        ),
        (
            "%0 = const 1.0 : f32[]\n%1 = input @v : f32[3]\n%2 = grad %0, %1 : f32[3]",
            "%2: a gradient that was not worked out",
        ),
    ];
    for (text, expected) in cases {
        let error = interpret(&graph(text), &env()).expect_err(text);
        assert_eq!(error.to_string(), expected, "{text}");
    }
}

#[test]
fn the_verifier_names_node_and_rule() {
    let cases = [
        ("%0 = const 1.0 : f32[2]", "%0 = const 1.0 : f32[2]: rule 2: the shape rule gives f32[]"),
        (
            "%0 = input @a : f32[2]\n%1 = input @b : f32[3]\n%2 = map add %0, %1 : f32[2]",
            "rule 2: axis 0 of operand 0 (2) and axis 0 of operand 1 (3) differ",
        ),
        (
            "%0 = input @a : f32[2]\n%1 = input @b : i32[2]\n%2 = map add %0, %1 : f32[2]",
            "rule 2: add does not take (f32, i32): operands of one type, f32 or i32, are expected",
        ),
        ("%0 = input @a : f32[2]\n%1 = reduce sum [2] %0 : f32[2]", "rule 2: axis 2 is outside of rank 1"),
        (
            "%0 = input @a : f32[2, 2]\n%1 = reduce sum [1, 0] %0 : f32[]",
            "rule 2: axes [1, 0] are not in increasing order",
        ),
        (
            "%0 = input @a : u8[2]\n%1 = reduce sum [0] %0 : u8[]",
            "rule 2: operand 0 has element type u8; expected f32, i32",
        ),
        (
            "%0 = input @a : f32[batch, 2]\n%1 = contract ab,bc->ac %0, %0 : f32[batch, 2]",
            "rule 2: axis 1 of operand 0 (2) and axis 0 of operand 1 (batch) differ",
        ),
        ("%0 = input @a : f32[2]\n%1 = contract a,b->a %0, %0 : f32[2]", "label b is in one operand only"),
        (
            "%0 = input @a : f32[2]\n%1 = contract a,a->b %0, %0 : f32[2]",
            "label b of the result is in no operand",
        ),
        ("%0 = input @a : f32[2, 2]\n%1 = contract aa,ab->b %0, %0 : f32[2]", "label a stands twice"),
        ("%0 = input @a : f32[6]\n%1 = reshape %0 : f32[4]", "rule 2: 6 elements do not fill a shape of 4"),
        ("%0 = input @a : f32[6]\n%1 = broadcast [0] %0 : f32[4]", "axis 0 of the result (4) differ"),
        ("%0 = input @a : f32[2]\n%1 = permute [0, 0] %0 : f32[2, 2]", "operand 0 has rank 1; expected 2"),
        (
            "%0 = input @a : f32[4]\n%1 = slice [2] step [1] %0 : f32[3]",
            "rule 2: axis 0: index 4 is outside of size 4",
        ),
        (
            "%0 = input @a : f32[n]\n%1 = slice [1] step [1] %0 : f32[n]",
            "rule 2: axis 0: index n is outside of size n",
        ),
        ("%0 = input @a : f32[4]\n%1 = slice [0] step [0] %0 : f32[4]", "the step of axis 0 is less than 1"),
        (
            "%0 = input @a : f32[4]\n%1 = input @b : i32[4]\n%2 = concat 0 %0, %1 : f32[8]",
            "operand 1 has i32",
        ),
        ("%0 = input @a : f32[4]\n%1 = gather 0 %0, %0 : f32[4]", "expected i32"),
        ("%0 = input @a : f32[4]\n%1 = grad %0, %0 : f32[4]", "rule 2: operand 0 has rank 1; expected 0"),
        ("%0 = input @a : f32[]\n%1 = map add %0 : f32[]", "rule 2: takes 2 operands, not 1"),
        (
            "%0 = input @a : f32[]\n%1 = param @a : f32[]",
            "%1 = param @a : f32[]: rule 3: %0 has the same name",
        ),
        ("%0 = const 0.5 : i32[]", "rule 4: i32 does not hold 0.5"),
        ("%0 = const 256.0 : u8[]", "rule 4: u8 does not hold 256"),
        (
            "%0 = random uniform 1 : f32[2]\n%1 = random normal 1 : f32[2]",
            "%1 = random normal 1 : f32[2]: rule 5",
        ),
        ("%0 = const 1.0 : f32[]\noutput a = %0\noutput a = %0", "output a: rule 6: the name stands twice"),
        ("%0 = input @a : f32[]\nupdate %0 <- %0", "update %0 <- %0: rule 7: %0 is not a variable"),
        (
            "%0 = param @a : f32[2]\n%1 = const 1.0 : f32[]\nupdate %0 <- %1",
            "update %0 <- %1: rule 7: f32[] is not the variable's f32[2]",
        ),
        (
            "%0 = param @a : f32[]\n%1 = const 1.0 : f32[]\nupdate %0 <- %0\nupdate %0 <- %1",
            "update %0 <- %1: rule 7: %0 is updated twice",
        ),
        ("%0 = const 1.0 : f32[]\n%1 = input @a : f32[]\n%2 = grad %0, %1 : f32[]", "rule 8"),
        ("%0 = input @a : f32[t]", "rule 9: the size t is not known"),
        ("%0 = param @a : f32[batch]", "rule 9: the size batch is not known"),
    ];
    for (text, expected) in cases {
        let error = verify_compilable(&graph(text)).expect_err(text);
        assert!(error.contains(expected), "{text}\ngives: {error}\nnot:   {expected}");
    }
}

#[test]
fn a_user_before_its_operand_is_refused() {
    let mut graph = graph("%0 = const 1.0 : f32[]\n%1 = const 2.0 : f32[]");
    let ty = TensorType::scalar(DType::F32);
    graph.push(Node::new(Op::Detach, ty, vec![NodeId(2)], Origin::default()));
    assert_eq!(
        verify(&graph),
        Err("%2 = detach %2 : f32[]: rule 1: operand %2 does not come before its user".into())
    );
}

#[test]
fn text_is_read_as_it_is_written() {
    let text = "graph {
  %0 = input @image : u8[batch, 28, 28]
  %1 = param @\"a \\\"b\\\" // c\" : f32[(t / 2), 2 * batch - 1]
  %2 = state @adam.m/classifier.dense.0.w : f32[]
  %3 = const 1e-8 : f32[]
  %4 = const -inf : f32[]
  %5 = const NaN : f32[]
  %6 = size t * t - 3 * batch + 1 : f32[]
  %7 = map mul %3, %4 : f32[]
  %8 = slice [0, batch, 2] step [1, 1, 3] %0 : u8[batch, 1, 2]
  output loss = %7
  output \"two words\" = %5
  update %2 <- %7
}
";
    let graph = parse(text).expect("it is a graph");
    assert_eq!(print(&graph, false), text);
}

#[test]
fn scopes_are_comments() {
    let mut graph = Graph::new();
    graph.origin.scope = "classifier.dense.0".into();
    let one = graph.constant(1.0, DType::F32);
    graph.outputs.push(("one".into(), one));
    let text = print(&graph, true);
    assert!(text.contains("%0 = const 1.0 : f32[]  // classifier.dense.0"), "{text}");
    assert_eq!(print(&parse(&text).expect("comments are ignored"), false), print(&graph, false));
}

#[test]
fn what_is_not_a_graph_is_refused_at_its_place() {
    let cases = [
        ("", "line 1, column 1: the graph's closing `}` is missing"),
        ("nodes {", "line 1, column 1: expected `graph`"),
        ("graph {\n%0 = const 1.0 : f32[]", "line 2, column 1: the graph's closing `}` is missing"),
        ("graph {\n  %0 = foo : f32[]\n}", "line 2, column 8: no primitive is named `foo`"),
        ("graph {\n  %0 = map foo : f32[]\n}", "line 2, column 12: no scalar function is named `foo`"),
        ("graph {\n  %0 = const x : f32[]\n}", "line 2, column 14: expected a number"),
        ("graph {\n  %0 = const 1 : f64[]\n}", "line 2, column 18: `f64` is not an element type"),
        ("graph {\n  %0 = detach %1 : f32[]\n}", "line 2, column 16: %1 is not defined above"),
        (
            "graph {\n  %0 = const 1 : f32[]\n  %0 = const 1 : f32[]\n}",
            "line 3, column 4: %0 is defined twice",
        ),
        ("graph {\n  %0 = const 1 : f32[] f32\n}", "line 2, column 24: unexpected text"),
        ("graph {\n}\ngraph", "line 3, column 1: text after the graph"),
        ("graph {\n  %0 = input @\"a : f32[]\n}", "the name's closing quote is missing"),
        ("graph {\n  %0 = input @a : f32[(a]\n}", "a closing parenthesis is missing"),
        ("graph {\n  %0 = input @a : f32[3 3]\n}", "line 2, column 25: expected `,`"),
    ];
    for (text, expected) in cases {
        let error = parse(text).expect_err(text).to_string();
        assert!(error.contains(expected), "{text}\ngives: {error}\nnot:   {expected}");
    }
}

#[test]
fn matmul_aligns_leading_axes_at_the_last() {
    let cases = [
        (1, 1, "a,a->"),
        (2, 1, "ab,b->a"),
        (1, 2, "a,ab->b"),
        (2, 2, "ab,bc->ac"),
        (3, 2, "abc,cd->abd"),
        (3, 3, "abc,acd->abd"),
        (4, 3, "abcd,bde->abce"),
        (2, 3, "ab,cbd->cad"),
    ];
    for (lhs, rhs, expected) in cases {
        let contraction = Contraction::matmul(lhs, rhs).expect("neither is a scalar");
        assert_eq!(contraction.to_string(), expected, "{lhs} @ {rhs}");
        assert_eq!(contraction.check(), Ok(()), "{lhs} @ {rhs}");
        assert_eq!(Contraction::parse(expected), Some(contraction));
    }
    assert_eq!(Contraction::matmul(0, 2), None);
    for text in ["ab", "ab,bc", "a1,b->a", "ab->ba"] {
        assert_eq!(Contraction::parse(text), None, "{text}");
    }
}

#[test]
fn shapes_meet_at_their_last_axes() {
    let dims = |text: &str| -> Vec<Dim> {
        let size = |s: &str| s.parse::<i64>().map_or_else(|_| Dim::symbol(s), Dim::from);
        text.split_whitespace().map(size).collect()
    };
    let cases = [
        ("", "2 3", Ok("2 3")),
        ("batch 3", "3", Ok("batch 3")),
        ("batch 1", "3", Ok("batch 3")),
        ("1 3", "batch 1", Ok("batch 3")),
        ("1", "0", Ok("0")),
        ("batch 3", "batch", Err("axis 1 of operand 0 (3) and axis 0 of operand 1 (batch) differ")),
    ];
    for (a, b, expected) in cases {
        let found = common_shape(&[&dims(a), &dims(b)]).map_err(|error| error.to_string());
        assert_eq!(found, expected.map(dims).map_err(String::from), "{a} and {b}");
    }
}

#[test]
fn rewriting_follows_roots() {
    let before = graph(
        "%0 = param @w : f32[]\n%1 = const 2.0 : f32[]\n%2 = map mul %0, %1 : f32[]\n%3 = map add %2, %2 : f32[]\n\
         %4 = detach %0 : f32[]\noutput y = %3\nupdate %0 <- %2",
    );
    assert_eq!(use_counts(&before), [2, 1, 3, 1, 0]);
    let users = Users::new(&before);
    assert_eq!(users.of(NodeId(2)), [NodeId(3), NodeId(3)]);
    assert_eq!((users.of(NodeId(0)), users.of(NodeId(4))), (&[NodeId(2), NodeId(4)][..], &[][..]));
    assert_eq!(reachable(&before, [NodeId(2)]), [true, true, true, false, false]);
    let same = rewrite(&before, |_, _, _| None);
    assert_eq!(same.to_string(), before.to_string());
    let copied = rewrite(&before, |new, node, operands| Some(copy_node(new, node, operands)));
    assert_eq!(copied.to_string(), before.to_string());
    let only_tried = rewrite(&before, |new, node, operands| {
        copy_node(new, node, operands);
        None
    });
    assert_eq!(only_tried.to_string(), before.to_string());
    let shorter = substitute(&before, |id| (id == NodeId(2)).then_some(NodeId(0)));
    let expected = graph(
        "%0 = param @w : f32[]\n%1 = const 2.0 : f32[]\n%2 = map mul %0, %1 : f32[]\n%3 = map add %0, %0 : f32[]\n\
         %4 = detach %0 : f32[]\noutput y = %3\nupdate %0 <- %0",
    );
    assert_eq!(shorter.to_string(), expected.to_string());
    let picture = dot(&before);
    for part in ["%0 param @w\\nf32[]", "0 -> 2 [ label=\"0\"]", "shape=box"] {
        assert!(picture.contains(part), "{part} is not in\n{picture}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn random_graphs_verify_run_and_round_trip(seed in any::<u64>(), smooth in any::<bool>()) {
        let (graph, env) = random_graph(seed, Wish { smooth, ..Wish::default() });
        let text = graph.to_string();
        prop_assert_eq!(verify(&graph), Ok(()), "{}", text);
        let again = parse(&text).map_err(|error| TestCaseError::fail(format!("{error} in\n{text}")))?;
        prop_assert_eq!(again.to_string(), text.clone());
        for id in graph.ids() {
            prop_assert_eq!(graph.node(id), again.node(id));
        }
        let values = interpret(&graph, &env).map_err(|error| TestCaseError::fail(format!("{error} in\n{text}")))?;
        for (id, value) in graph.ids().zip(&values) {
            prop_assert!(value.data.iter().all(|x| x.is_finite()), "{} is {:?} in\n{}", id, value, text);
        }
    }
}

#[test]
fn random_graphs_have_every_primitive() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..400 {
        let (graph, _) = random_graph(seed, Wish::default());
        for id in graph.ids() {
            let text = super::op::family(&graph.node(id).op).print(&graph.node(id).op);
            seen.insert(text.split(' ').next().expect("a primitive has a keyword").to_string());
        }
    }
    let all = "argmax broadcast cast concat const contract detach flip fold gather input iota map \
               pad param permute random reduce reshape scan scatter_add size slice sort state window";
    assert_eq!(seen.into_iter().collect::<Vec<_>>().join(" "), all);
}
