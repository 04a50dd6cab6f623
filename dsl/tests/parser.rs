//! The parser on legal texts: what is accepted without a complaint.

use gradc_dsl::parse;

#[track_caller]
fn accept(text: &str) {
    let (_, diagnostics) = parse(0, text);
    assert!(diagnostics.is_empty(), "{text}\n{diagnostics:#?}");
}

#[test]
fn a_whole_model() {
    accept(
        r#"// mnist.model — the classic 64-32-10 classifier
import std.vision
import "blocks.model"
let width = 64
/// The network.
fn classifier(image: f32[batch, 784]) -> f32[batch, 10] {
    image |> dense(64) |> relu
          |> dense(32) |> relu   // second
          |> dense(10)
}

train classifier {
    data      = idx("data/mnist-train", image: u8[28, 28])
    test      = idx("data/mnist-test")
    let x     = flatten(data.image) / 255
    let guess = classifier(x)
    minimize cross_entropy(guess, data.label) with clip_by_norm(1.0) |> adam(lr = 1e-3)
    minimize bce(judge(fake), 1)                                     over params(generator, judge) with adam(2e-4, beta1 = 0.5)
    report accuracy(guess, data.label)
    report error = 1 - accuracy(guess, data.label)
    predict softmax(guess)
    batch = 32   epochs = 10   seed = 7
}
test classifier(vocab = 65) { params == 52_650  gradcheck  kernels(cpu) <= 8  loss at 0 in 2.0..2.6 }
test classifier {
    params == 52_650
    accuracy at 125 in 0.5..1.0
}

fn dense(x: f32[.., n], units: dim, lr = 1e-3, p, f: function) -> f32[.., units] {
    param w: f32[n, units] = glorot_uniform()
    param b: f32[units]    = zeros()
    x @ w + b
}
fn attention(x: f32[b, t, d], heads: dim) -> (f32[b, t, d], f32[3 * d / 2]) {
    let (q, k, v) = split(dense(x, 3 * d), 3) |> map(split_heads(heads))   // each
    let s[b, h, i, j] = sum[e] q[b, i, h, e] * k[b, j, h, e] / sqrt(e)
    let p = softmax(where(causal(t), s, -inf))
    let y[b, i, h, e] = 1 / n * sum[j] p[b, h, i, j] * v[b, j, h, e] + 1
    let z = x[:, 0:3, .., 1::2, -1:] - table[tokens]
    let skip = if c == channels and stride == 1 { x } else if not a { 2 } else { conv(x, channels, kernel = 1, stride) }
    let x = x |> repeat depth { block(heads) |> probe("resid") }
    let b = { let y = f(x)  y + 1 }
    let long = a
        + b
        * c
    (dense(merge_heads(y), d), b)
}
fn adam(p: f32[..], g: f32[..]) {
    state m: f32[..] = zeros()
    m <- beta1 * m + (1 - beta1) * g
    p <- p - lr * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^-t)) + eps)
}
"#,
    );
}

#[test]
fn line_ends_and_marks() {
    accept("\u{FEFF}fn f(x: f32) -> f32 {\r\n    x\r\n}\r\n");
    accept("fn f() { 1 }");
}
