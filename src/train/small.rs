//! The examples in small sizes: each kernel of their training steps, executed from its PTX.
//!
//! What enters: the texts of the examples, in which some sizes are others. What fails: a kernel that gives other results than the nest
//! interpreter by more than its own rounding explains (`codegen/oracle.rs`): a bound that holds also where terms cancel, as in
//! the gradient of a bias before a norm. What feeds a kernel is what the interpreter made of those before. So the kernels are those of the
//! examples, whatever their sizes choose; at their own sizes they are compiled by `tests/cuda_kernels`.

use super::data::{Data, Dataset};
use super::engine::Program;
use super::init::initial_value;
use super::planned::plan_of;
use crate::base::Precision;
use crate::codegen::cuda::tests::check_plans;
use crate::codegen::suite::launches;
use crate::nest::interpret::Run;
use crate::plan::Target;
use std::path::Path;

struct Small {
    example: &'static str,
    /// Pieces of the text, and what stands in their place.
    edits: &'static [(&'static str, &'static str)],
    batch: usize,
}

/// A batch of one more than an even number leaves a tile that is not full.
const EXAMPLES: &[Small] = &[
    Small { example: "mnist", edits: &[], batch: 5 },
    Small { example: "bench/mlp-seed", edits: &[], batch: 5 },
    Small { example: "bench/mlp-large", edits: &[("1024", "96")], batch: 5 },
    Small {
        example: "bench/cnn",
        edits: &[("32, 32, 3]", "8, 8, 3]"), ("stage(64) |> stage(64)", "stage(40)"), ("128", "24")],
        batch: 3,
    },
    Small {
        example: "bench/gpt-nano",
        edits: &[("i32[64]", "i32[12]"), ("repeat 4", "repeat 1"), ("128", "32")],
        batch: 3,
    },
    // Longer than two blocks: attention is made block by block.
    Small {
        example: "bench/gpt-mini",
        edits: &[
            ("i32[256]", "i32[140]"),
            ("repeat 6", "repeat 1"),
            ("384", "32"),
            ("heads = 6", "heads = 2"),
        ],
        batch: 1,
    },
    Small { example: "bench/lstm", edits: &[("i32[64]", "i32[5]"), ("256", "40"), ("128", "24")], batch: 3 },
    Small { example: "diffusion", edits: &[("384", "40")], batch: 3 },
    Small {
        example: "digits",
        edits: &[("length = 8000", "length = 2000"), ("64,", "8,"), ("96,", "12,"), ("128,", "10,")],
        batch: 3,
    },
    Small {
        example: "fashion",
        edits: &[("conv(16", "conv(4"), ("residual(32", "residual(6"), ("residual(64", "residual(8")],
        batch: 3,
    },
    Small { example: "gan", edits: &[("256", "40"), ("128", "24")], batch: 3 },
    Small {
        example: "gpt",
        edits: &[("context = 64", "context = 12"), ("width = 128", "width = 32"), ("depth = 4", "depth = 1")],
        batch: 3,
    },
    Small {
        example: "unet",
        edits: &[
            ("image, 8)", "image, 3)"),
            ("unet_stage(16)", "unet_stage(4)"),
            ("unet_stage(32)", "unet_stage(6)"),
            ("narrow, 16", "narrow, 4"),
            ("wide, 8", "wide, 3"),
        ],
        batch: 2,
    },
    Small { example: "vae", edits: &[("256", "40")], batch: 3 },
];

fn check(small: &Small, precision: Precision) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let path = folder.join(format!("{}.model", small.example));
    let mut text = std::fs::read_to_string(&path).unwrap();
    for (piece, other) in small.edits {
        assert!(text.contains(piece), "{}: there is no {piece}", small.example);
        text = text.replace(piece, other);
    }
    let data = Data::in_folder(path.parent().unwrap());
    let settings: Vec<(String, String)> = [("batch", small.batch.to_string()), ("steps", "1".to_string())]
        .map(|(name, value)| (name.into(), value))
        .into();
    let checked = crate::check(&crate::load("small.model", &text), &data, &settings);
    let mut model = checked.unwrap_or_else(|errors| panic!("{}: {errors:?}", small.example));
    model.settings.precision = precision;
    let examples: std::sync::Arc<Dataset> = data.load(&model.settings.data).unwrap();
    let plan = plan_of(&model, Program::Train, Target::Cuda);
    let leaf = |name: &str| -> Vec<f64> {
        if let Some(field) = examples.field(name) {
            return field.ty.dtype.decode(&field.bytes[..field.row_bytes() * small.batch]);
        }
        match model.variables.iter().find(|variable| variable.path == name) {
            Some(variable) => initial_value(variable, 1).into_iter().map(f64::from).collect(),
            None => vec![0.0],
        }
    };
    let at = Run { batch: small.batch as i64, seed: 1, step: 0 };
    let begun = std::time::Instant::now();
    let cases = launches(&plan, small.example, leaf, at);
    check_plans(vec![(plan, cases)]);
    eprintln!("{} in {precision:?}: {:.1} s", small.example, begun.elapsed().as_secs_f64());
}

#[test]
fn kernels_of_the_examples() {
    EXAMPLES.iter().for_each(|small| check(small, Precision::F32));
}

/// Those of the examples that have products for tensor cores.
#[test]
fn kernels_of_the_examples_in_bf16() {
    let has_products = |small: &&Small| {
        ["bench/mlp-large", "bench/cnn", "bench/gpt-mini", "bench/lstm"].contains(&small.example)
    };
    EXAMPLES.iter().filter(has_products).for_each(|small| check(small, Precision::Bf16));
}
