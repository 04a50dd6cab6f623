//! How much memory the machine has to give.
//!
//! What enters: what Linux says of itself under /proc and /sys. What leaves: bytes, or nothing where the system does not say.

use std::fs::read_to_string;

/// Bytes that can still be used, if the system says so; at most what the control group that the program runs in may have. What
/// the group has used of it does not count, for most of that may be cached files, which give way.
pub fn available_bytes() -> Option<u64> {
    let machine = read_to_string("/proc/meminfo").ok().and_then(|text| machine_bytes(&text));
    // A group without a limit says `max`, which is no number.
    let group = read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse().ok());
    machine.into_iter().chain(group).min()
}

fn machine_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find(|line| line.starts_with("MemAvailable:"))?;
    let kibibytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_is_read() {
        let cases = [
            ("MemTotal:  9 kB\nMemAvailable:   12 kB\n", Some(12 * 1024)),
            ("MemTotal:  9 kB\n", None),
            ("MemAvailable: much\n", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(machine_bytes(text), expected, "{text:?}");
        }
    }
}
