//! A folder of files that can be made again, kept small.
//!
//! What enters: a folder, and the bytes that its files may have. What leaves: the folder without those that were used least lately,
//! and without what processes that were killed have left. A file's time of change says when it was used. Invariants: files of other
//! kinds stay; a failure (another process was first, or the folder is somebody else's) costs room, never a result; several
//! processes may do it at once, for who has opened a file goes on reading it, and who finds none makes it again.

use std::fs::{File, Metadata};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How exactly it is known when a file was used: a use less than this after the last one writes nothing.
const EXACTLY: Duration = Duration::from_secs(60 * 60);
/// Age of a temporary file that nobody can be writing any more.
const ABANDONED: Duration = Duration::from_secs(24 * 60 * 60);

fn age(of: &Metadata) -> Duration {
    let modified = of.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    // What was changed in the future, by another machine's clock, was changed now.
    SystemTime::now().duration_since(modified).unwrap_or_default()
}

/// Notes that a file was used.
pub fn used(path: &Path) {
    let now = |file: &File| file.set_modified(SystemTime::now());
    if std::fs::metadata(path).is_ok_and(|of| age(&of) >= EXACTLY) {
        let _ = File::options().append(true).open(path).and_then(|file| now(&file));
    }
}

/// Removes files whose name ends in `.` and `extension`, those used least lately first, until the others have `most_bytes` at most.
pub fn prune(folder: &Path, extension: &str, most_bytes: u64) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut files: Vec<(Duration, PathBuf, u64)> = Vec::new();
    for entry in entries.flatten() {
        let (path, Ok(of)) = (entry.path(), entry.metadata()) else { continue };
        let ends_in = |end: &str| path.extension().is_some_and(|e| e == end);
        if of.is_file() && ends_in(extension) {
            files.push((age(&of), path, of.len()));
        } else if of.is_file() && ends_in("tmp") && age(&of) > ABANDONED {
            let _ = std::fs::remove_file(path);
        }
    }
    let mut bytes: u64 = files.iter().map(|(_, _, bytes)| bytes).sum();
    if bytes <= most_bytes {
        return;
    }
    // Of the same age in the order of their names, so that processes that do this at once agree.
    files.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    for (_, path, n) in files {
        if bytes <= most_bytes {
            break;
        }
        // One that another process has removed is gone all the same.
        let _ = std::fs::remove_file(path);
        bytes -= n;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    fn write(folder: &Path, name: &str, bytes: usize, hours_ago: u64) {
        let path = folder.join(name);
        std::fs::write(&path, vec![1; bytes]).unwrap();
        let at = SystemTime::now() - Duration::from_secs(hours_ago * 60 * 60);
        File::options().append(true).open(path).unwrap().set_modified(at).unwrap();
    }

    #[test]
    fn what_was_used_least_lately_goes_first() {
        // (name, bytes, hours since it was used)
        let files = [
            ("a.cubin", 100, 5),
            ("b.cubin", 100, 9),
            ("c.cubin", 300, 2),
            ("d.cubin", 50, 7),
            ("notes.txt", 9000, 900),
            (".gradc-old.tmp", 70, 30),
            (".gradc-new.tmp", 70, 1),
        ];
        let rest = [".gradc-new.tmp", "notes.txt"];
        let cases: [(u64, &[&str]); 6] = [
            (550, &["a.cubin", "b.cubin", "c.cubin", "d.cubin"]),
            (549, &["a.cubin", "c.cubin", "d.cubin"]),
            (450, &["a.cubin", "c.cubin", "d.cubin"]),
            (400, &["a.cubin", "c.cubin"]),
            (399, &["c.cubin"]),
            (10, &[]),
        ];
        for (most, left) in cases {
            let folder = tempfile::tempdir().unwrap();
            files.iter().for_each(|(name, bytes, hours)| write(folder.path(), name, *bytes, *hours));
            prune(folder.path(), "cubin", most);
            let mut expected: Vec<&str> = left.iter().chain(&rest).copied().collect();
            expected.sort();
            assert_eq!(names(folder.path()), expected, "at most {most} bytes");
        }
        prune(Path::new("/there is no such folder"), "cubin", 0);
    }

    #[test]
    fn a_use_makes_a_file_young() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "a.cubin", 100, 9);
        write(folder.path(), "b.cubin", 100, 5);
        used(&folder.path().join("a.cubin"));
        used(&folder.path().join("none.cubin"));
        prune(folder.path(), "cubin", 100);
        assert_eq!(names(folder.path()), ["a.cubin"]);
        assert_eq!(std::fs::read(folder.path().join("a.cubin")).unwrap(), [1; 100]);
    }
}
