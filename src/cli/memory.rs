//! `--memory-limit`: how many bytes a step may take.

#[derive(clap::Args, Clone, Copy, Default)]
pub struct MemoryLimit {
    /// Bytes that a step may take, such as 800MiB or 2GB: what the backward pass reads is then made again where that is
    /// needed to fit. Results stay the same bits [default: whatever the machine has]
    #[arg(long, value_name = "BYTES", value_parser = parse)]
    pub memory_limit: Option<u64>,
}

/// Units of bytes, those that end in others first.
const UNITS: [(&str, f64); 7] = [
    ("KiB", 1024.0),
    ("MiB", 1024.0 * 1024.0),
    ("GiB", 1024.0 * 1024.0 * 1024.0),
    ("KB", 1e3),
    ("MB", 1e6),
    ("GB", 1e9),
    ("B", 1.0),
];

fn parse(text: &str) -> Result<u64, String> {
    let unit = UNITS.iter().find(|(name, _)| text.ends_with(name));
    let (number, factor) =
        unit.map_or((text, 1.0), |(name, factor)| (&text[..text.len() - name.len()], *factor));
    match number.trim().parse::<f64>() {
        Ok(n) if n.is_finite() && n >= 0.0 => Ok((n * factor) as u64),
        _ => Err("a number of bytes is wanted, such as 800MiB or 2GB".to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn sizes() {
        let cases = [
            ("1024", Some(1024)),
            ("12B", Some(12)),
            ("1.5KiB", Some(1536)),
            ("800 MiB", Some(800 << 20)),
            ("2GB", Some(2_000_000_000)),
            ("-1", None),
            ("MiB", None),
            ("inf", None),
            ("2TX", None),
        ];
        for (text, bytes) in cases {
            assert_eq!(parse(text).ok(), bytes, "{text}");
        }
    }
}
