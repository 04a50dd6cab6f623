//! Convolutions for tests, as data: each with its gradients by the input and by the kernel.
//!
//! What enters: nothing. What leaves: for each row of the table a graph with the outputs `y`, `dx` and `dw` (of `y` by `x` and `w`,
//! with `z` as its cotangent), not differentiated yet, and values of its leaves, all from -1/2 to 1/2. Sizes are those at which lowering takes another way: even and odd pictures, few and many channels, strides,
//! dilation, groups, a kernel a channel.

use crate::base::ReduceOp;
use crate::base::philox::block;
use crate::graph::interpret::{Env, Tensor};
use crate::graph::text::parse;
use crate::graph::{Graph, NodeId};
use crate::scalar::Func;

pub struct Convolution {
    pub name: &'static str,
    /// Examples, height, width, channels in and out.
    sizes: [i64; 5],
    /// Rows and columns of the kernel.
    taps: [i64; 2],
    stride: i64,
    dilation: i64,
    padding: i64,
    groups: i64,
}

const PLAIN: Convolution = Convolution {
    name: "3x3",
    sizes: [2, 8, 8, 24, 24],
    taps: [3, 3],
    stride: 1,
    dilation: 1,
    padding: 1,
    groups: 1,
};

pub const CONVOLUTIONS: &[Convolution] = &[
    PLAIN,
    Convolution { name: "3x3, more out than in", sizes: [1, 8, 10, 24, 40], ..PLAIN },
    Convolution { name: "3x3 on long pictures", sizes: [1, 4, 18, 32, 24], ..PLAIN },
    Convolution { name: "3x3 on large pictures", sizes: [2, 16, 16, 32, 24], ..PLAIN },
    Convolution { name: "3x3 on wide pictures, more in than out", sizes: [1, 12, 24, 48, 16], ..PLAIN },
    Convolution { name: "3x3 without padding", sizes: [3, 10, 10, 24, 24], padding: 0, ..PLAIN },
    Convolution { name: "3x3 on odd pictures", sizes: [2, 9, 7, 17, 19], ..PLAIN },
    Convolution { name: "3x3 on small odd pictures", sizes: [2, 7, 7, 24, 32], ..PLAIN },
    Convolution {
        name: "3x3 on large pictures that four does not divide",
        sizes: [1, 30, 22, 32, 24],
        ..PLAIN
    },
    Convolution { name: "3x3 with few channels", sizes: [5, 8, 8, 3, 16], ..PLAIN },
    Convolution { name: "3x3 at stride 2", sizes: [2, 8, 8, 8, 12], stride: 2, ..PLAIN },
    Convolution { name: "3x3, dilated", sizes: [2, 8, 9, 7, 5], dilation: 2, padding: 2, ..PLAIN },
    Convolution { name: "1x1", sizes: [3, 5, 7, 11, 13], taps: [1, 1], padding: 0, ..PLAIN },
    Convolution {
        name: "1x1 at stride 2",
        sizes: [3, 6, 8, 8, 16],
        taps: [1, 1],
        padding: 0,
        stride: 2,
        ..PLAIN
    },
    Convolution { name: "5x5", sizes: [2, 8, 8, 5, 9], taps: [5, 5], padding: 2, ..PLAIN },
    Convolution { name: "in one direction", sizes: [3, 1, 20, 16, 24], taps: [1, 3], ..PLAIN },
    Convolution { name: "in groups", sizes: [2, 6, 8, 12, 8], groups: 4, ..PLAIN },
    Convolution { name: "in two large groups", sizes: [1, 8, 8, 64, 64], groups: 2, ..PLAIN },
    Convolution { name: "a kernel a channel", sizes: [3, 6, 7, 13, 13], groups: 13, ..PLAIN },
    Convolution {
        name: "a kernel a channel at stride 2",
        sizes: [2, 7, 8, 16, 16],
        stride: 2,
        groups: 16,
        ..PLAIN
    },
    Convolution { name: "two kernels a channel", sizes: [2, 5, 6, 5, 10], groups: 5, ..PLAIN },
];

impl Convolution {
    pub fn graph(&self) -> (Graph, Env) {
        let [n, height, width, c, o] = self.sizes;
        let [rows, columns] = self.taps;
        let Convolution { stride, dilation, groups, .. } = *self;
        // A kernel of one row needs no rows of zeros.
        let padding = |taps: i64| if taps == 1 { 0 } else { self.padding };
        let (top, left) = (padding(rows), padding(columns));
        let (padded_height, padded_width) = (height + 2 * top, width + 2 * left);
        let positions = |padded: i64, taps: i64| (padded - (taps - 1) * dilation - 1) / stride + 1;
        let (i, j) = (positions(padded_height, rows), positions(padded_width, columns));
        let (of_group, out_of_group) = (c / groups, o / groups);
        let step = format!("stride {stride} dilation {dilation}");
        let text = format!(
            "graph {{
             %0 = input @x : f32[batch, {height}, {width}, {c}]
             %1 = param @w : f32[{rows}, {columns}, {of_group}, {groups}, {out_of_group}]
             %2 = pad [0, {top}, {left}, 0] step [1, 1, 1, 1] %0 : f32[batch, {padded_height}, {padded_width}, {c}]
             %3 = window 1 {step} %2 : f32[batch, {i}, {rows}, {padded_width}, {c}]
             %4 = window 3 {step} %3 : f32[batch, {i}, {rows}, {j}, {columns}, {c}]
             %5 = reshape %4 : f32[batch, {i}, {rows}, {j}, {columns}, {groups}, {of_group}]
             %6 = contract niajbgk,abkgo->nijgo %5, %1 : f32[batch, {i}, {j}, {groups}, {out_of_group}]
             output y = %6
             }}"
        );
        let mut graph = parse(&text).unwrap_or_else(|e| panic!("{}: {e}", self.name));
        let (x, w, y) = (NodeId(0), NodeId(1), graph.outputs[0].1);
        let of_result = graph.ty(y).clone();
        let z = graph.input("z", of_result);
        let weighted = graph.map(Func::Mul, &[y, z]).expect("two of one type");
        let all: Vec<usize> = (0..graph.ty(y).rank()).collect();
        let loss = graph.reduce(ReduceOp::Sum, weighted, &all).expect("all of its axes");
        for (name, by) in [("dx", x), ("dw", w)] {
            let gradient = graph.grad(loss, by).expect("a number by a leaf");
            graph.outputs.push((name.into(), gradient));
        }
        let mut env = Env::default();
        env.symbols.insert("batch".into(), n);
        for (leaf, name) in [(x, "x"), (w, "w"), (z, "z")] {
            let size = |dim: &crate::base::Dim| dim.as_const().unwrap_or(n) as usize;
            let shape: Vec<usize> = graph.ty(leaf).shape.iter().map(size).collect();
            let number =
                |at: usize| f64::from(block([at as u32, leaf.0, 0, 0], [0; 2])[0]) / f64::from(u32::MAX);
            let data: Vec<f64> =
                (0..shape.iter().product()).map(|at| f64::from((number(at) - 0.5) as f32)).collect();
            env.leaves.insert(name.into(), Tensor::new(shape, data));
        }
        (graph, env)
    }

    /// How far an output may be off by rounding; the plain sum's bound and a little more. That of `plan/winograd` is
    /// near to it by F(2x2); by F(4x4) the worst case is further off, and no table of numbers comes near that.
    pub fn bound(&self, output: &str) -> f64 {
        let [n, height, width, c, o] = self.sizes.map(|size| size as f64);
        let taps = (self.taps[0] * self.taps[1]) as f64;
        let groups = self.groups as f64;
        let places = n * (height + 2.0 * self.padding as f64) * (width + 2.0 * self.padding as f64);
        let terms = match output {
            "y" => taps * c / groups,
            "dx" => taps * o / groups,
            _ => 2.0 * places,
        };
        terms * (terms + 90.0) * 2f64.powi(-24) / 4.0
    }
}
