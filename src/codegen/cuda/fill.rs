//! Random numbers.
//!
//! What enters: a `Fill`. What leaves: a loop over blocks of four numbers, which is what one call of Philox gives: the same bits as
//! `base::philox`.

use super::kernel::Emitter;
use crate::base::{Dim, Distribution};
use crate::nest::Fill;

pub fn emit_fill(e: &mut Emitter, fill: &Fill) {
    e.helper("philox");
    let four = match fill.distribution {
        Distribution::Uniform => "uniform_four",
        Distribution::Normal => "normal_four",
    };
    e.helper(four);
    let (first, count) = (e.names.dim(&fill.first), e.names.dim(&fill.count));
    let integer = e.names.integer;
    let buffer = e.buffer(fill.buffer);
    let at = |i: &str| {
        let one = Dim::from(1);
        e.names.sum(&[(&fill.offset, None), (&one, Some(i))])
    };
    let element = at("place");
    if e.names.is_multiple(&fill.first, 4) {
        // Blocks begin where rows do.
        e.each("i", &format!("({count} + 3) / 4"));
        e.w.line(format!("const long long block = (long long)({first}) / 4 + i;"));
        e.w.line("float numbers[4];");
        e.w.line(format!("{four}(numbers, block, {}u, env);", fill.site));
        e.w.line("#pragma unroll");
        e.w.open("for (int n = 0; n < 4; ++n)");
        e.w.line(format!("const {integer} place = i * 4 + n;"));
    } else {
        e.w.line(format!("const long long first = {first};"));
        e.each("i", &format!("{count} / 4 + 2"));
        e.w.line("const long long block = first / 4 + i;");
        e.w.line("float numbers[4];");
        e.w.line(format!("{four}(numbers, block, {}u, env);", fill.site));
        e.w.line("#pragma unroll");
        e.w.open("for (int n = 0; n < 4; ++n)");
        e.w.line(format!("const {integer} place = ({integer})(block * 4 + n - first);"));
    }
    let inside = if e.names.is_multiple(&fill.first, 4) { "" } else { "place >= 0 && " };
    e.w.line(format!("if ({inside}place < {count}) {buffer}[{element}] = numbers[n];"));
    e.w.close();
    e.w.close();
}
