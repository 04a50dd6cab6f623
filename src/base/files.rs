//! Files that are never seen half written.
//!
//! What enters: a path, bytes. What leaves: the file. Invariant: whatever happens meanwhile, another process at the same file
//! included, the path holds the old content or the new.

use std::fs::File;
use std::io::Write;
use std::path::Path;

/// Puts `bytes` under `path` so that, whatever happens, `path` holds the old content or the new.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".gradc-").suffix(".tmp");
    #[cfg(unix)]
    {
        // What `File::create` would ask for: the user's umask decides, not tempfile's privacy.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let mut file = builder.tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    #[cfg(unix)]
    File::open(folder)?.sync_all()?;
    Ok(())
}
