//! Functions by the names that they have in PyTorch, Keras, JAX and NumPy.
//!
//! What enters: the name of a function that there is not. What leaves: the one that does the same here, for the help of an error.
//! Not here: names that are a slip of the fingers away (`gradc_dsl::nearest`), which differences in case and underscores are.

/// Names in small letters without underscores, and what is called so here.
const NAMES: &[(&[&str], &str)] = &[
    (&["linearlayer", "fullyconnected", "fc"], "dense"),
    (&["conv2d", "convolution", "convolution2d"], "conv"),
    (&["convtranspose2d", "conv2dtranspose", "deconv"], "conv_transpose"),
    (&["depthwiseconv2d", "depthwiseconv"], "depthwise"),
    (&["maxpool2d", "maxpooling2d", "maxpooling"], "max_pool"),
    (&["avgpool2d", "averagepooling2d", "averagepool", "meanpool"], "avg_pool"),
    (&["globalaveragepooling2d", "globalaveragepool"], "global_avg_pool"),
    (&["adaptiveavgpool2d"], "adaptive_avg_pool"),
    (&["adaptivemaxpool2d"], "adaptive_max_pool"),
    (&["interpolate", "upsampling2d"], "upsample"),
    (&["batchnorm1d", "batchnorm2d", "batchnorm3d", "batchnormalization"], "batch_norm"),
    (&["layernormalization"], "layer_norm"),
    (&["groupnormalization"], "group_norm"),
    (&["instancenorm1d", "instancenorm2d"], "instance_norm"),
    (&["normalize"], "l2_normalize"),
    (&["swish"], "silu"),
    (&["multiheadattention"], "self_attention"),
    (&["scaleddotproductattention", "dotproductattention"], "attend"),
    (&["transformerencoderlayer", "transformerblock"], "encoder_block"),
    (&["transformerdecoderlayer"], "decoder_block"),
    (&["rope", "rotaryembedding"], "rotary"),
    (&["bidirectional"], "two_directional"),
    (&["mseloss", "meansquarederror"], "mse"),
    (&["l1loss", "maeloss", "meanabsoluteerror"], "mae"),
    (
        &[
            "crossentropyloss",
            "sparsecategoricalcrossentropy",
            "softmaxcrossentropy",
            "softmaxcrossentropywithlogits",
            "softmaxcrossentropywithintegerlabels",
        ],
        "cross_entropy",
    ),
    (&["categoricalcrossentropy"], "cross_entropy_soft"),
    (&["nllloss", "nll"], "negative_log_likelihood"),
    (&["bce", "bceloss"], "binary_cross_entropy"),
    (
        &["bcewithlogitsloss", "bcewithlogits", "binarycrossentropywithlogits", "sigmoidbinarycrossentropy"],
        "binary_cross_entropy_logits",
    ),
    (&["huberloss"], "huber"),
    (&["smoothl1loss"], "smooth_l1"),
    (&["kldiv", "kldivloss", "kldivergence"], "kl"),
    (&["tripletmarginloss", "tripletloss"], "triplet"),
    (&["ctcloss"], "ctc"),
    (&["cat", "concatenate"], "concat"),
    (&["view"], "reshape"),
    (&["clip"], "clamp"),
    (&["maskedfill"], "where"),
    (&["arange"], "iota"),
    (&["randn", "normal", "randnlike"], "random_normal"),
    (&["rand", "uniform", "randlike"], "random_uniform"),
];

/// The function that has this name elsewhere.
pub fn here(name: &str) -> Option<&'static str> {
    let plain: String = name.chars().filter(|c| *c != '_').flat_map(char::to_lowercase).collect();
    NAMES.iter().find(|(names, _)| names.contains(&&plain[..])).map(|(_, here)| *here)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Overrides, check};
    use crate::train::data::Data;

    /// A model that calls a function of that name has an error with this help.
    fn help(name: &str) -> String {
        let text = format!("fn net(x: f32[b, 4]) -> f32[b, 4] {{ {name}(x) }}");
        let checked = check(&crate::load("net.model", &text), &Data::default(), &Overrides::default());
        let unknown = checked.diagnostics.into_iter().find(|error| error.code == "E0202");
        unknown.and_then(|error| error.help).unwrap_or_default()
    }

    #[test]
    fn names_from_elsewhere_have_theirs_here() {
        for (names, here) in NAMES {
            assert_eq!(help(here), "", "there is `{here}`");
            for name in *names {
                assert_eq!(help(name), format!("`{here}` does that here"), "{name}");
            }
        }
        assert_eq!(help("MSELoss"), "`mse` does that here");
        assert_eq!(help("Batch_Norm2d"), "`batch_norm` does that here");
        assert_eq!(help("dens"), "did you mean `dense`?", "a slip of the fingers");
    }
}
