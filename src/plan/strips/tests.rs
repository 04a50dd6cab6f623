//! What becomes strips, and that they compute the same.

use super::super::tests::check;
use super::super::{Options, Plan, Target, plan};
use crate::base::{DType, Precision};
use crate::graph::interpret::{Env, Tensor};
use crate::graph::{Graph, Op};
use crate::model::{Catalog, DataCall, DataInfo, DataValue};
use crate::passes::optimize_in;

/// A model of sequences `x` (37 places of 8 numbers), keys and values `y` (41), and how often its training step goes through
/// strips: in the forward pass, and in the backward pass if that has products of all rows and columns; whether masked columns are left out.
/// On a GPU, how many kernels go through blocks, how many of these leave masked columns out, and how many mend sums as maxima grow.
struct Case {
    name: &'static str,
    body: &'static str,
    n_strips: usize,
    masked: bool,
    blocks: (usize, usize, usize),
}

const CASES: &[Case] = &[
    Case {
        name: "causal",
        body: "self_attention(x, heads = 2, causal = true)",
        n_strips: 2,
        masked: true,
        blocks: (3, 3, 1),
    },
    Case {
        name: "all see all",
        body: "self_attention(x, heads = 2)",
        n_strips: 2,
        masked: false,
        blocks: (3, 0, 1),
    },
    Case {
        name: "one head",
        body: "self_attention(x, heads = 1, causal = true)",
        n_strips: 2,
        masked: true,
        blocks: (3, 3, 1),
    },
    Case {
        name: "heads share keys, turned by place",
        body: "self_attention(x, heads = 4, kv_heads = 2, causal = true, rotate = true)",
        n_strips: 2,
        masked: true,
        blocks: (3, 3, 1),
    },
    Case {
        name: "other keys",
        body: "cross_attention(x, y, heads = 2)",
        n_strips: 2,
        masked: false,
        blocks: (3, 0, 1),
    },
    Case {
        name: "fewer rows than columns, of which the last see all",
        body: "attend(heads_of(x), heads_of(y), heads_of(y), reshape(causal_mask(37, 41), [1, 1, 37, 41]) and full([b, 1, 37, 41], 1) > 0) |> flat",
        n_strips: 2,
        masked: true,
        blocks: (3, 2, 1),
    },
    Case {
        name: "more rows than columns, of which the first see none",
        body: "attend(heads_of(y), heads_of(x), heads_of(x), reshape(causal_mask(41, 37), [1, 1, 41, 37]) and full([b, 1, 41, 37], 1) > 0) |> flat",
        n_strips: 2,
        masked: false,
        blocks: (3, 0, 1),
    },
    Case {
        name: "padding",
        body: "masked_attention(x, padding_mask(lengths, 37, 37) and causal_mask(37, 37), heads = 2)",
        n_strips: 2,
        masked: false,
        blocks: (3, 0, 1),
    },
    Case {
        name: "only the places before",
        body: "attend(heads_of(x), heads_of(x), heads_of(x), reshape(reshape(iota(37), [37, 1]) > reshape(iota(37), [1, 37]), [1, 1, 37, 37]) and full([b, 1, 37, 37], 1) > 0) |> flat",
        n_strips: 2,
        masked: false,
        blocks: (3, 0, 1),
    },
    Case {
        name: "some weights are dropped",
        body: "dropped(heads_of(x), heads_of(x)) |> flat",
        n_strips: 2,
        masked: true,
        blocks: (3, 3, 1),
    },
    Case {
        name: "minus infinity in all of the first columns",
        body: "attend_to(heads_of(x), heads_of(x), -inf) |> flat",
        n_strips: 2,
        masked: false,
        blocks: (3, 0, 1),
    },
    Case {
        name: "the maximum and the sum by themselves",
        body: "spread(heads_of(x) @ transpose(heads_of(x))) |> reshape([b, 2, 37])",
        n_strips: 1,
        masked: false,
        blocks: (2, 0, 1),
    },
    Case {
        name: "what is not proportional to an exponential",
        body: "shifted(heads_of(x) @ transpose(heads_of(x))) |> reshape([b, 2, 37])",
        n_strips: 1,
        masked: false,
        blocks: (2, 0, 0),
    },
    Case {
        name: "a product that stays",
        body: "mean(heads_of(x) @ transpose(heads_of(x)), axes = [-1]) |> reshape([b, 2, 37])",
        n_strips: 1,
        masked: false,
        blocks: (1, 0, 0),
    },
];

/// Fields as the model declares them.
struct Declared;

impl Catalog for Declared {
    fn info(&self, call: &DataCall) -> Result<DataInfo, String> {
        let typed = call.arguments.iter().filter_map(|(name, value, _)| match (name, value) {
            (Some(name), DataValue::Type(ty)) => Some((name.clone(), ty.clone())),
            _ => None,
        });
        Ok(DataInfo { fields: typed.collect(), sizes: Vec::new(), n_examples: 8 })
    }
}

fn graph(body: &str) -> Graph {
    let text = format!(
        "fn heads_of(x: f32[b, t, 8]) -> f32[b, 2, t, 4] {{\n    permute(reshape(dense(x, 8), [b, t, 2, 4]), [0, 2, 1, 3])\n}}\n\
         fn flat(x: f32[b, 2, t, 4]) -> f32[b, t, 8] {{\n    reshape(permute(x, [0, 2, 1, 3]), [b, t, 8])\n}}\n\
         fn dropped(q: f32[b, h, t, e], k: f32[b, h, t, e]) -> f32[b, h, t, e] {{\n    \
         let p = softmax(where(reshape(causal_mask(t, t), [1, 1, t, t]) and full([b, 1, t, t], 1) > 0, q @ transpose(k), -1e9))\n    \
         dropout(p, 0.3) @ k\n}}\n\
         fn attend_to(q: f32[b, h, t, e], k: f32[b, h, t, e], low: f32) -> f32[b, h, t, e] {{\n    \
         let seen = reshape(iota(t), [1, 1, 1, t]) >= 20 and full([b, 1, t, t], 1) > 0\n    \
         softmax(where(seen, q @ transpose(k), low)) @ k\n}}\n\
         fn spread(s: f32[b, h, t, u]) -> f32[b, h, t] {{\n    \
         let m = detach(max(s, axes = [-1], keep = true))\n    sum(exp(s - m), axes = [-1]) * reshape(m, [b, h, t])\n}}\n\
         fn shifted(s: f32[b, h, t, u]) -> f32[b, h, t] {{\n    \
         let m = detach(max(s, axes = [-1], keep = true))\n    sum(tanh(s - m) + exp(s - m), axes = [-1])\n}}\n\
         fn net(x: f32[b, 37, 8], y: f32[b, 41, 8], lengths: i32[b]) {{\n    {body}\n}}\n\
         train t {{\n    data = memory(x: f32[37, 8], y: f32[41, 8], lengths: i32)\n    \
         let z = net(data.x, data.y, data.lengths + 1)\n    minimize mean(z * z * z) with sgd(lr = 0.1)\n    batch = 2   epochs = 1\n}}\n"
    );
    let program = crate::load("strips.model", &text);
    let model = crate::check(&program, &Declared, &[]);
    let model = model
        .unwrap_or_else(|e| panic!("{}", e.iter().map(|d| d.message.clone()).collect::<Vec<_>>().join("\n")));
    crate::autodiff::differentiate(&model.train)
}

fn env(graph: &Graph) -> Env {
    let mut env = Env::default();
    env.symbols.insert("batch".into(), 2);
    for id in graph.ids() {
        let node = graph.node(id);
        let (Some(name), Op::Input(_) | Op::Param(_) | Op::State(_)) = (node.op.leaf_name(), &node.op) else {
            continue;
        };
        let size = |dim: &crate::base::Dim| dim.eval(&|s| (s == "batch").then_some(2)).unwrap() as usize;
        let shape: Vec<usize> = node.ty.shape.iter().map(size).collect();
        let n: usize = shape.iter().product();
        let value = |i: usize| {
            let spread = ((i * 7919 + name.len() * 31) % 101) as f64 / 50.0 - 1.0;
            if node.ty.dtype == DType::I32 { (i * 13 % 30) as f64 } else { spread }
        };
        let data: Vec<f64> = (0..n).map(value).collect();
        env.leaves.insert(name.clone(), Tensor::new(shape, data));
    }
    env
}

/// How often launches go through strips or blocks, how often with masked columns left out, and how often with sums that are mended.
fn n_loops(plan: &Plan, what: &str) -> (usize, usize, usize) {
    let notes: String = plan.phases.iter().flatten().map(|launch| launch.note.as_str()).collect();
    let count = |what: &str| notes.matches(what).count();
    (count(what), count("masked columns left out"), count(" mended"))
}

#[test]
fn strips_compute_the_same() {
    for case in CASES {
        let differentiated = graph(case.body);
        let env = env(&differentiated);
        for precision in [Precision::F32, Precision::Bf16] {
            let graph = optimize_in(precision, &differentiated);
            let options = Options { cache_bytes: 64, ..Options::new(2, Target::Cpu) };
            let (found, masked, _) = n_loops(&plan(&graph, &options), "strips of");
            assert_eq!(found, case.n_strips, "{}, {precision:?}", case.name);
            assert_eq!(masked, if case.masked { found } else { 0 }, "{}, {precision:?}", case.name);
            check(&graph, &env);
            let options = Options { cache_bytes: 64, ..Options::new(2, Target::Cuda) };
            let found = n_loops(&plan(&graph, &options), "blocks of");
            assert_eq!(found, case.blocks, "{}, {precision:?}", case.name);
        }
    }
}

/// What fits a cache is left as it is.
#[test]
fn small_products_are_not_cut() {
    let graph = optimize_in(Precision::F32, &graph(CASES[0].body));
    assert_eq!(n_loops(&plan(&graph, &Options::new(2, Target::Cpu)), "strips of").0, 0);
}

/// A sum that is a variable's next value is written there, which blocks do not do.
#[test]
fn a_sum_may_be_a_variables_next_value() {
    let text = "graph {
        %0 = state @q : f32[2, 9, 4]
        %1 = input @k : f32[2, 9, 4]
        %2 = contract abc,adc->abd %0, %1 : f32[2, 9, 9]
        %3 = map exp %2 : f32[2, 9, 9]
        %4 = contract abd,adc->abc %3, %1 : f32[2, 9, 4]
        %5 = reduce sum [2] %4 : f32[2, 9]
        output y = %5
        update %0 <- %4
    }";
    let graph = crate::graph::text::parse(text).unwrap();
    check(&graph, &env(&graph));
}
