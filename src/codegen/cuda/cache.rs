//! Machine code of earlier runs, kept on disk by what it was made from.
//!
//! What enters: CUDA C, an architecture, a compiler. What leaves: a cubin. A file's name is the hash of all
//! that decides its contents: text, options, NVRTC's version, headers' place. Invariants: a file that was cut
//! off or altered is never used, for it carries its own hash and is made again; two processes may use one
//! folder; it stays below `MOST_BYTES` (`prune.rs`); and a folder that cannot be written costs time, never a result.

use super::Source;
use super::nvrtc::{Nvrtc, NvrtcError};
use super::prune::{prune, used};
use crate::base::files::write_atomically;
use std::cmp::Reverse;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The variable that names the folder; empty means that nothing is kept.
pub const VARIABLE: &str = "GRADC_CACHE";

/// What every file begins with; another number where the form changes.
const MAGIC: &[u8; 8] = b"gradcub1";
const HASH_BYTES: usize = 32;
/// How files' names end.
const EXTENSION: &str = "cubin";
/// Of all files: the cubins of some hundred models.
const MOST_BYTES: u64 = 256 << 20;

/// Numbers of kernels, and their cubin.
pub type Part = (Range<usize>, Vec<u8>);

/// A folder of cubins.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
    most_bytes: u64,
}

impl Cache {
    pub fn new(folder: impl Into<PathBuf>) -> Cache {
        Cache { folder: folder.into(), most_bytes: MOST_BYTES }
    }

    /// The user's, if there is a place for it.
    pub fn of_user() -> Option<Cache> {
        let folder = |name: &str| std::env::var_os(name).map(PathBuf::from);
        if let Some(named) = folder(VARIABLE) {
            return (!named.as_os_str().is_empty()).then(|| Cache::new(named));
        }
        let home = || folder("HOME").or_else(|| folder("LOCALAPPDATA")).map(|home| home.join(".cache"));
        let caches = folder("XDG_CACHE_HOME").filter(|path| path.is_absolute()).or_else(home)?;
        Some(Cache::new(caches.join("gradc")))
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The cubin of a text, from the folder if it is there.
    ///
    /// # Errors
    /// NVRTC refuses the text.
    pub fn cubin(&self, nvrtc: &Nvrtc, source: &str, architecture: &str) -> Result<Vec<u8>, NvrtcError> {
        let key = key(nvrtc.version(), &nvrtc.all_options(architecture), source);
        if let Some(known) = self.get(&key) {
            return Ok(known);
        }
        let cubin = nvrtc.compile(source, architecture)?.cubin;
        self.put(&key, &cubin);
        Ok(cubin)
    }

    /// The same, where there may be no folder.
    ///
    /// # Errors
    /// NVRTC refuses the text.
    pub fn cubin_of(
        cache: Option<&Cache>,
        nvrtc: &Nvrtc,
        source: &str,
        architecture: &str,
    ) -> Result<Vec<u8>, NvrtcError> {
        match cache {
            Some(cache) => cache.cubin(nvrtc, source, architecture),
            None => nvrtc.compile(source, architecture).map(|compiled| compiled.cubin),
        }
    }

    /// Cubins of all parts of a source with the numbers of their kernels, made on as many threads as the
    /// machine has; from the folder what is there, if there is a folder.
    ///
    /// # Errors
    /// NVRTC refuses the text.
    pub fn cubins(
        cache: Option<&Cache>,
        nvrtc: &Nvrtc,
        source: &Source,
        architecture: &str,
    ) -> Result<Vec<Part>, NvrtcError> {
        let parts = source.parts();
        let made: Vec<OnceLock<Result<Vec<u8>, NvrtcError>>> =
            parts.iter().map(|_| OnceLock::new()).collect();
        // The longest first: begun last, it would be all that is left to wait for.
        let mut order: Vec<usize> = (0..parts.len()).collect();
        order.sort_by_key(|i| Reverse(parts[*i].1.len()));
        let next = AtomicUsize::new(0);
        let work = || {
            while let Some(i) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
                // Each number was given out once.
                let _ = made[*i].set(Cache::cubin_of(cache, nvrtc, &parts[*i].1, architecture));
            }
        };
        let n_threads = std::thread::available_parallelism().map_or(1, usize::from).min(parts.len());
        std::thread::scope(|scope| {
            for _ in 1..n_threads {
                scope.spawn(work);
            }
            work();
        });
        let made = made.into_iter().map(|cubin| cubin.into_inner().expect("all numbers were given out"));
        parts.into_iter().zip(made).map(|((kernels, _), cubin)| Ok((kernels, cubin?))).collect()
    }

    fn file(&self, key: &str) -> PathBuf {
        self.folder.join(format!("{key}.{EXTENSION}"))
    }

    /// What was put under the key, if it is whole.
    fn get(&self, key: &str) -> Option<Vec<u8>> {
        let file = self.file(key);
        let bytes = std::fs::read(&file).ok()?;
        used(&file);
        let (hash, content) = bytes.strip_prefix(MAGIC)?.split_at_checked(HASH_BYTES)?;
        (blake3::hash(content).as_bytes() == hash).then(|| content.to_vec())
    }

    /// Whether it was written does not matter: it can be made again.
    fn put(&self, key: &str, content: &[u8]) {
        let bytes = [MAGIC, &blake3::hash(content).as_bytes()[..], content].concat();
        let _ =
            std::fs::create_dir_all(&self.folder).and_then(|()| write_atomically(&self.file(key), &bytes));
        prune(&self.folder, EXTENSION, self.most_bytes);
    }
}

fn key(version: (i32, i32), options: &[String], source: &str) -> String {
    let version = format!("{}.{}", version.0, version.1);
    hash([&version[..], source].into_iter().chain(options.iter().map(String::as_str)))
}

/// Each part goes in with its length, so that no two lists of parts are the same bytes.
pub fn hash<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::super::Entry;
    use super::*;

    #[test]
    fn what_was_put_comes_back_and_what_is_damaged_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().join("a/b"));
        let content: Vec<u8> = (0..1000u32).map(|i| (i * 7) as u8).collect();
        assert_eq!(cache.get("k"), None);
        cache.put("k", &content);
        assert_eq!(cache.get("k").as_ref(), Some(&content));
        let whole = std::fs::read(cache.file("k")).unwrap();
        let mut cases: Vec<Vec<u8>> = (0..40).map(|n| whole[..n].to_vec()).collect();
        cases.push(whole[..whole.len() - 1].to_vec());
        cases.push([&whole[..], b"x"].concat());
        cases.extend((0..whole.len()).step_by(97).map(|i| {
            let mut bytes = whole.clone();
            bytes[i] ^= 1;
            bytes
        }));
        for damaged in cases {
            std::fs::write(cache.file("k"), &damaged).unwrap();
            assert_eq!(cache.get("k"), None, "{} bytes", damaged.len());
        }
        cache.put("k", &content);
        assert_eq!(cache.get("k"), Some(content));
    }

    #[test]
    fn many_may_write_and_read_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for i in 0..20u8 {
                        let (key, content) = (format!("k{}", i % 3), vec![i % 3; 5000]);
                        cache.put(&key, &content);
                        assert_eq!(cache.get(&key), Some(content));
                    }
                });
            }
        });
        let left = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left, 3, "temporary files are left behind");
    }

    /// As processes do that share a folder: what one finds is whole, and nothing but too little room takes it away.
    #[test]
    fn a_full_folder_stays_small_while_many_use_it() {
        let folder = tempfile::tempdir().unwrap();
        let caches: Vec<Cache> =
            (0..4).map(|_| Cache { most_bytes: 20_000, ..Cache::new(folder.path()) }).collect();
        std::thread::scope(|scope| {
            for (n, cache) in caches.iter().enumerate() {
                scope.spawn(move || {
                    for i in 0..40u8 {
                        let number = i * (n as u8 + 1) % 17;
                        let (key, content) = (format!("k{number}"), vec![number; 3000]);
                        assert!(cache.get(&key).is_none_or(|found| found == content));
                        cache.put(&key, &content);
                        assert!(cache.get(&key).is_none_or(|found| found == content));
                    }
                });
            }
        });
        caches[0].put("last", &[1; 3000]);
        let files = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap());
        let bytes: u64 = files.map(|entry| entry.metadata().unwrap().len()).sum();
        assert!((3000..=20_000).contains(&bytes), "{bytes} bytes");
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_no_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let cache = Cache::new(file.join("cache"));
        cache.put("k", b"content");
        assert_eq!(cache.get("k"), None);
    }

    #[test]
    fn parts_are_the_whole_and_compile_apart() {
        let one = Entry {
            name: String::new(),
            threads: 32,
            shared_bytes: 0,
            static_bytes: 0,
            scratch_bytes: 0,
            rows: 1.into(),
            tile: 1,
            parts: 1,
            most_blocks: 1,
        };
        let kernels: Vec<Entry> = (0..20).map(|i| Entry { name: format!("k{i}"), ..one.clone() }).collect();
        let shared = "__device__ float twice(float x) { return 2.0f * x; }".to_string();
        let text = |i: usize| {
            let comment = "// Long.\n".repeat(100);
            format!(
                "{comment}extern \"C\" __global__ void k{i}(float* x) {{ x[{i}] = twice(x[threadIdx.x]); }}\n"
            )
        };
        let own: Vec<String> = (0..20).map(text).collect();
        let (text, together, joints) = (format!("{shared}\n{}", own.concat()), Vec::new(), Vec::new());
        let source = Source { text, kernels, together, joints, shared, own };
        let parts = source.parts();
        let numbers: Vec<usize> = parts.iter().flat_map(|(kernels, _)| kernels.clone()).collect();
        assert_eq!(numbers, (0..source.kernels.len()).collect::<Vec<_>>());
        assert!(parts.len() > 1, "{} kernels are one part", source.kernels.len());
        for (kernels, text) in &parts {
            assert!(kernels.clone().all(|i| text.contains(&format!("{}(", source.kernels[i].name))));
        }
        let Ok(nvrtc) = Nvrtc::find(None) else {
            crate::codegen::cuda::tests::skipped("there is no NVRTC");
            return;
        };
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path());
        let first = Cache::cubins(Some(&cache), &nvrtc, &source, "sm_90").unwrap();
        assert_eq!(first.len(), parts.len());
        assert_eq!(Cache::cubins(Some(&cache), &nvrtc, &source, "sm_90").unwrap(), first);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), parts.len());
    }

    #[test]
    fn everything_that_decides_is_in_the_key() {
        let options = |list: &[&str]| list.iter().map(|o| o.to_string()).collect::<Vec<_>>();
        let keys = [
            key((13, 0), &options(&["a", "b"]), "text"),
            key((13, 1), &options(&["a", "b"]), "text"),
            key((13, 0), &options(&["ab"]), "text"),
            key((13, 0), &options(&["a"]), "textb"),
            key((13, 0), &options(&["a", "b"]), "text "),
        ];
        for (i, one) in keys.iter().enumerate() {
            assert!(keys[..i].iter().all(|other| other != one));
        }
    }

    #[test]
    fn a_text_is_compiled_once() {
        let Ok(nvrtc) = Nvrtc::find(None) else {
            crate::codegen::cuda::tests::skipped("there is no NVRTC");
            return;
        };
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path());
        let source = "extern \"C\" __global__ void k(float* x) { x[threadIdx.x] += 1.0f; }";
        let first = cache.cubin(&nvrtc, source, "sm_80").unwrap();
        assert_eq!(cache.cubin(&nvrtc, source, "sm_80").unwrap(), first);
        assert_ne!(cache.cubin(&nvrtc, source, "sm_90").unwrap(), first);
        assert!(cache.cubin(&nvrtc, "no text", "sm_90").is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
