//! Numbers as people read them.

use crate::train::aggregate::Table;

/// `52,650`
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|g| std::str::from_utf8(g).ok()).collect();
    groups.join(",")
}

/// `1.2 MiB`
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{n} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// `0.1234`; very small and very large numbers with an exponent.
pub fn metric(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 || (1e-3..1e5).contains(&size) { format!("{value:.4}") } else { format!("{value:.3e}") }
}

/// A reported vector or matrix: rows and columns with their numbers, whole numbers without a point.
pub fn table(table: &Table) -> String {
    let whole = table.values.iter().all(|value| value.fract() == 0.0 && value.abs() < 1e9);
    let shown = |value: f64| if whole { format!("{value:.0}") } else { metric(value) };
    let n_columns = table.shape.last().copied().unwrap_or(1);
    let cells: Vec<String> = table.values.iter().map(|value| shown(*value)).collect();
    let width = cells.iter().map(String::len).max().unwrap_or(1).max(n_columns.to_string().len());
    let names = format!("{}", table.values.len() / n_columns.max(1)).len();
    let head: String = (0..n_columns).map(|column| format!("  {column:>width$}")).collect();
    let mut lines = vec![format!("{}\n{:names$}{head}", table.name, "")];
    for (row, cells) in cells.chunks(n_columns.max(1)).enumerate() {
        let name = if table.shape.len() == 1 { String::new() } else { row.to_string() };
        let cells: String = cells.iter().map(|cell| format!("  {cell:>width$}")).collect();
        lines.push(format!("{name:>names$}{cells}"));
    }
    lines.join("\n")
}

/// `850 µs`, `12.3 ms`, `4.5 s`, `3 min 20 s`
pub fn seconds(value: f64) -> String {
    match value {
        v if v < 1e-3 => format!("{:.0} µs", v * 1e6),
        v if v < 1.0 => format!("{:.1} ms", v * 1e3),
        v if v < 120.0 => format!("{v:.1} s"),
        v => format!("{:.0} min {:.0} s", (v / 60.0).floor(), v % 60.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        let cases = [
            (count(0), "0"),
            (count(52_650), "52,650"),
            (count(1_000_000), "1,000,000"),
            (bytes(1000), "1000 B"),
            (bytes(1_258_291), "1.2 MiB"),
            (metric(0.91234), "0.9123"),
            (metric(0.0), "0.0000"),
            (metric(1e-5), "1.000e-5"),
            (seconds(3.2e-5), "32 µs"),
            (seconds(0.0123), "12.3 ms"),
            (seconds(200.0), "3 min 20 s"),
        ];
        let matrix = Table { name: "confusion".into(), shape: vec![2, 2], values: vec![12.0, 0.0, 3.0, 7.0] };
        let cases = cases.iter().map(|(shown, wanted)| (shown.as_str(), *wanted));
        let table = table(&matrix);
        let cases = cases.chain([(table.as_str(), "confusion\n    0   1\n0  12   0\n1   3   7")]);
        for (shown, wanted) in cases {
            assert_eq!(shown, wanted);
        }
    }
}
