//! Where CUDA's libraries lie on a machine.
//!
//! What enters: a folder that the user named, or nothing. What leaves: folders that may hold libraries, the
//! likeliest first, and in them a library by its name. Libraries come with a toolkit or with Python's
//! `nvidia-*` packages, which need neither a toolkit nor a GPU. Invariant: a folder that the user named is
//! the only one that is searched. Nothing is loaded here.

use std::path::{Path, PathBuf};

/// The variable that names the folder where `--cuda-path` is not given.
pub const VARIABLE: &str = "GRADC_CUDA_PATH";

/// Folders with libraries, existing ones only.
pub fn library_folders(named: Option<&Path>) -> Vec<PathBuf> {
    let from_variable = std::env::var_os(VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from);
    let roots = match named.map(Path::to_path_buf).or(from_variable) {
        Some(root) => vec![root],
        None => usual_roots(),
    };
    let mut found: Vec<PathBuf> = Vec::new();
    for folder in roots.iter().flat_map(|root| below(root)).filter(|folder| folder.is_dir()) {
        if !found.contains(&folder) {
            found.push(folder);
        }
    }
    found
}

/// A library by its stem (`nvrtc`): of several versions in a folder, the highest.
pub fn library(folders: &[PathBuf], stem: &str) -> Option<PathBuf> {
    folders.iter().find_map(|folder| library_in(folder, stem))
}

/// The same in one folder.
pub fn library_in(folder: &Path, stem: &str) -> Option<PathBuf> {
    let matches = |name: &str| {
        let shared = name.strip_prefix(&format!("lib{stem}.so"));
        let version = shared.map(|rest| rest.strip_prefix('.').unwrap_or(rest));
        let windows = name.strip_prefix(&format!("{stem}64_")).and_then(|rest| rest.strip_suffix(".dll"));
        let version = version.or(windows)?;
        let numbers: Option<Vec<u32>> =
            version.split(['.', '_']).filter(|part| !part.is_empty()).map(|part| part.parse().ok()).collect();
        numbers
    };
    let entries = std::fs::read_dir(folder).ok()?;
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let versions = names.filter_map(|name| Some((matches(&name)?, name)));
    versions.max().map(|(_, name)| folder.join(name))
}

/// CUDA's headers that belong to a library: beside it in a toolkit and in packages since version 13, in a package of their own before.
pub fn headers(library: &Path) -> Option<PathBuf> {
    let root = library.parent()?.parent()?;
    let own = root.parent().map(|packages| packages.join("cuda_runtime/include"));
    let folders = [Some(root.join("include")), own].into_iter().flatten();
    folders.into_iter().find(|folder| folder.join("cuda_runtime.h").is_file())
}

/// The folders that a toolkit, or a folder of Python packages, keeps its libraries in.
fn below(root: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        ["", "lib64", "lib", "bin", "targets/x86_64-linux/lib", "targets/sbsa-linux/lib"]
            .into_iter()
            .map(|folder| if folder.is_empty() { root.to_path_buf() } else { root.join(folder) })
            .collect();
    // Packages keep theirs in `nvidia/cu13/lib` since version 13, and in `nvidia/cuda_nvrtc/lib` before.
    for packages in [root.join("nvidia"), root.to_path_buf()] {
        let mut inner = starting_with(&packages, "cu");
        inner.sort_by_key(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("cuda_")));
        found.extend(inner.iter().flat_map(|path| [path.join("lib"), path.join("bin")]));
    }
    found
}

fn usual_roots() -> Vec<PathBuf> {
    let mut roots: Vec<PathBuf> =
        ["CUDA_HOME", "CUDA_PATH"].iter().filter_map(std::env::var_os).map(PathBuf::from).collect();
    let pythons = ["VIRTUAL_ENV", "CONDA_PREFIX"].iter().filter_map(std::env::var_os).map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local"));
    let prefixes = pythons.chain(home).chain([PathBuf::from("/usr/local"), PathBuf::from("/usr")]);
    roots.extend(prefixes.flat_map(|prefix| site_packages(&prefix)));
    roots.extend(starting_with(Path::new("/usr/local"), "cuda"));
    roots
        .extend(["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64"].map(PathBuf::from));
    roots
}

/// `lib/python3.12/site-packages` and its kin.
fn site_packages(prefix: &Path) -> Vec<PathBuf> {
    let pythons = starting_with(&prefix.join("lib"), "python3");
    pythons.iter().flat_map(|python| [python.join("site-packages"), python.join("dist-packages")]).collect()
}

/// What a folder holds whose name begins so, the last name first: versions from the newest on.
fn starting_with(folder: &Path, start: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let matching = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(start));
    let mut paths: Vec<PathBuf> = matching.map(|entry| entry.path()).collect();
    paths.sort_by(|a, b| b.cmp(a));
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_found_in_the_trees_that_they_come_in() {
        // A tree, and what is found of `nvrtc` in it.
        let cases: [(&[&str], Option<&str>); 8] = [
            (&[], None),
            (&["lib64/libnvrtc.so.12", "lib64/libnvrtc.so"], Some("lib64/libnvrtc.so.12")),
            (&["lib64/libnvrtc.so.12.9.86", "lib64/libnvrtc.so.12"], Some("lib64/libnvrtc.so.12.9.86")),
            (&["libnvrtc.so.13", "libnvrtc.alt.so.13", "libnvrtc-builtins.so.13.0"], Some("libnvrtc.so.13")),
            (
                &["nvidia/cu13/lib/libnvrtc.so.13", "nvidia/cuda_nvrtc/lib/libnvrtc.so.12"],
                Some("nvidia/cu13/lib/libnvrtc.so.13"),
            ),
            (&["cu13/lib/libnvrtc.so.13"], Some("cu13/lib/libnvrtc.so.13")),
            (&["bin/nvrtc64_130_0.dll", "bin/nvrtc-builtins64_130.dll"], Some("bin/nvrtc64_130_0.dll")),
            (&["lib/libnvrtc.so.old", "lib/libcublasLt.so.13"], None),
        ];
        for (files, expected) in cases {
            let root = tempfile::tempdir().unwrap();
            for file in files {
                let path = root.path().join(file);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, "").unwrap();
            }
            let found = library(&library_folders(Some(root.path())), "nvrtc");
            assert_eq!(found, expected.map(|path| root.path().join(path)), "{files:?}");
        }
        assert!(library_folders(Some(Path::new("/no/such/folder"))).is_empty());
    }

    #[test]
    fn headers_are_found_with_their_library() {
        for (library, file, is_found) in [
            ("cuda/lib64/libnvrtc.so.12", "cuda/include/cuda_runtime.h", true),
            ("nvidia/cu13/lib/libnvrtc.so.13", "nvidia/cu13/include/cuda_runtime.h", true),
            ("nvidia/cuda_nvrtc/lib/libnvrtc.so.12", "nvidia/cuda_runtime/include/cuda_runtime.h", true),
            ("nvidia/cuda_nvrtc/lib/libnvrtc.so.12", "nvidia/cuda_runtime/include/cuda.h", false),
        ] {
            let root = tempfile::tempdir().unwrap();
            let file = root.path().join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, "").unwrap();
            let expected = file.parent().filter(|_| is_found).map(Path::to_path_buf);
            assert_eq!(headers(&root.path().join(library)), expected, "{library}");
        }
    }
}
