//! NVRTC, NVIDIA's compiler of CUDA C, loaded where it lies; it needs no GPU.
//!
//! What enters: CUDA C as text, and an architecture (`sm_90`). What leaves: PTX, a cubin, and for each kernel
//! its registers and spills. Invariants: the library that is called is the one whose path was found, and
//! whatever is installed, the answer is a value and never a panic. Not here: a cache (`cache.rs`), running
//! anything.

use super::folders;
use libloading::Library;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::ptr::{null, null_mut};

/// Why there is no machine code.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NvrtcError {
    #[error(
        "NVRTC, which compiles kernels, is not on this machine{}; `pip install nvidia-cuda-nvrtc nvidia-cuda-runtime nvidia-cuda-crt` \
         brings it, and --cuda-path or {} says where it is",
        searched(.0), folders::VARIABLE
    )]
    Absent(Vec<PathBuf>),
    #[error("{} cannot be used: {reason}", path.display())]
    Unusable { path: PathBuf, reason: String },
    /// What NVRTC says of the text.
    #[error("NVRTC refuses the kernels:\n{0}")]
    Rejected(String),
}

fn searched(folders: &[PathBuf]) -> String {
    let names: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
    if names.is_empty() { String::new() } else { format!(" (looked in {})", names.join(", ")) }
}

/// What NVRTC makes of a text.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Compiled {
    pub ptx: String,
    pub cubin: Vec<u8>,
    /// One for each kernel, in the log's order.
    pub usage: Vec<Usage>,
    /// Warnings, and what the assembler says of each kernel.
    pub log: String,
}

/// What a kernel takes of the machine.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    pub kernel: String,
    /// Of each thread.
    pub registers: u32,
    /// Bytes of local memory of each thread, and what was written to it and read back for want of registers.
    pub stack_bytes: u64,
    pub spill_store_bytes: u64,
    pub spill_load_bytes: u64,
    /// Bytes of each block, known when it was compiled.
    pub shared_bytes: u64,
}

type Handle = *mut c_void;

/// The library's functions.
pub struct Nvrtc {
    create: unsafe extern "C" fn(
        *mut Handle,
        *const c_char,
        *const c_char,
        c_int,
        *const *const c_char,
        *const *const c_char,
    ) -> c_int,
    compile: unsafe extern "C" fn(Handle, c_int, *const *const c_char) -> c_int,
    destroy: unsafe extern "C" fn(*mut Handle) -> c_int,
    log: Text,
    ptx: Text,
    cubin: Text,
    message: unsafe extern "C" fn(c_int) -> *const c_char,
    version: (i32, i32),
    path: PathBuf,
    /// Loaded for as long as its functions can be called.
    _libraries: Vec<Library>,
}

/// Two functions: how long a text is, and the text.
#[derive(Clone, Copy)]
struct Text {
    size: unsafe extern "C" fn(Handle, *mut usize) -> c_int,
    get: unsafe extern "C" fn(Handle, *mut c_char) -> c_int,
}

impl Nvrtc {
    /// Finds and loads NVRTC, in `named` alone if that is given.
    ///
    /// # Errors
    /// There is none, or it cannot be loaded.
    pub fn find(named: Option<&Path>) -> Result<Nvrtc, NvrtcError> {
        let folders = folders::library_folders(named);
        match folders::library(&folders, "nvrtc") {
            Some(path) => Nvrtc::load(&path),
            None => Err(NvrtcError::Absent(folders)),
        }
    }

    fn load(path: &Path) -> Result<Nvrtc, NvrtcError> {
        let unusable = |reason: String| NvrtcError::Unusable { path: path.to_path_buf(), reason };
        let open = |path: &Path| {
            // SAFETY: loading NVIDIA's libraries runs their initialisers only, as in any program that is
            // linked to them.
            unsafe { Library::new(path) }.map_err(|error| unusable(error.to_string()))
        };
        let mut libraries = Vec::new();
        // It looks for its builtins by name, which finds them if they are loaded, wherever they are.
        let beside = path.parent().unwrap_or(Path::new("."));
        if let Some(builtins) = folders::library_in(beside, "nvrtc-builtins") {
            libraries.push(open(&builtins)?);
        }
        let library = open(path)?;
        macro_rules! function {
            ($name:literal) => {{
                // SAFETY: the function has this name and these types in all versions of `nvrtc.h`; the
                // address stays good while the library is loaded, which the result holds.
                unsafe { library.get(concat!($name, "\0").as_bytes()) }
                    .map(|symbol| *symbol)
                    .map_err(|error| unusable(error.to_string()))?
            }};
        }
        let version: unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int = function!("nvrtcVersion");
        let (mut major, mut minor) = (0, 0);
        // SAFETY: both pointers are to live integers.
        let status = unsafe { version(&mut major, &mut minor) };
        if status != 0 {
            return Err(unusable(format!("it does not say its version (status {status})")));
        }
        Ok(Nvrtc {
            create: function!("nvrtcCreateProgram"),
            compile: function!("nvrtcCompileProgram"),
            destroy: function!("nvrtcDestroyProgram"),
            log: Text { size: function!("nvrtcGetProgramLogSize"), get: function!("nvrtcGetProgramLog") },
            ptx: Text { size: function!("nvrtcGetPTXSize"), get: function!("nvrtcGetPTX") },
            cubin: Text { size: function!("nvrtcGetCUBINSize"), get: function!("nvrtcGetCUBIN") },
            message: function!("nvrtcGetErrorString"),
            version: (major, minor),
            path: path.to_path_buf(),
            _libraries: {
                libraries.push(library);
                libraries
            },
        })
    }

    /// (major, minor)
    pub fn version(&self) -> (i32, i32) {
        self.version
    }

    /// The library's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// CUDA's headers, if they are there.
    pub fn headers(&self) -> Option<PathBuf> {
        super::folders::headers(&self.path)
    }

    /// What the compiler is told of `architecture` (`sm_90`), without the place of headers. Products and sums
    /// are fused only where the text says so, as on the CPU.
    pub fn options(architecture: &str) -> Vec<String> {
        let architecture = format!("--gpu-architecture={architecture}");
        [&architecture, "--std=c++17", "--fmad=false", "--ptxas-options=-v"].map(String::from).to_vec()
    }

    /// The same with the place of headers.
    pub fn all_options(&self, architecture: &str) -> Vec<String> {
        let headers = self.headers().map(|folder| format!("--include-path={}", folder.display()));
        Nvrtc::options(architecture).into_iter().chain(headers).collect()
    }

    /// Compiles a text for an architecture.
    ///
    /// # Errors
    /// NVRTC refuses the text, the architecture, or fails.
    pub fn compile(&self, source: &str, architecture: &str) -> Result<Compiled, NvrtcError> {
        let options = self.all_options(architecture);
        let no_zero = |text: &str| {
            CString::new(text)
                .map_err(|_| NvrtcError::Rejected("a text with a zero byte cannot be compiled".into()))
        };
        let source = no_zero(source)?;
        let options: Vec<CString> = options.iter().map(|o| no_zero(o)).collect::<Result<_, _>>()?;
        let options: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();
        let mut program = Program { nvrtc: self, handle: null_mut() };
        // SAFETY: the text and the name end in zero and are live; there are no headers in memory.
        let status = unsafe {
            (self.create)(&mut program.handle, source.as_ptr(), c"gradc.cu".as_ptr(), 0, null(), null())
        };
        self.check(status)?;
        // SAFETY: the program is live, and so are the options, each of which ends in zero.
        let status = unsafe { (self.compile)(program.handle, options.len() as c_int, options.as_ptr()) };
        let log = program.text(self.log).unwrap_or_default();
        if status != 0 {
            let log = if log.trim().is_empty() { self.message(status) } else { log };
            return Err(NvrtcError::Rejected(log.trim_end().to_string()));
        }
        let ptx = program.text(self.ptx)?;
        let cubin = program.bytes(self.cubin)?;
        Ok(Compiled { ptx, cubin, usage: usage(&log), log })
    }

    fn check(&self, status: c_int) -> Result<(), NvrtcError> {
        if status == 0 { Ok(()) } else { Err(NvrtcError::Rejected(self.message(status))) }
    }

    fn message(&self, status: c_int) -> String {
        // SAFETY: for every status, known or not, the function gives a text that lives as long as the library.
        unsafe { CStr::from_ptr((self.message)(status)) }.to_string_lossy().into_owned()
    }
}

/// A program inside of NVRTC, freed with this.
struct Program<'a> {
    nvrtc: &'a Nvrtc,
    handle: Handle,
}

impl Program<'_> {
    fn bytes(&self, which: Text) -> Result<Vec<u8>, NvrtcError> {
        let mut size = 0;
        // SAFETY: the program is live, and the pointer is to a live integer.
        self.nvrtc.check(unsafe { (which.size)(self.handle, &mut size) })?;
        let mut bytes = vec![0u8; size];
        if size > 0 {
            // SAFETY: the buffer has the bytes that were asked for.
            self.nvrtc.check(unsafe { (which.get)(self.handle, bytes.as_mut_ptr().cast()) })?;
        }
        Ok(bytes)
    }

    /// A text that ends in zero.
    fn text(&self, which: Text) -> Result<String, NvrtcError> {
        let mut bytes = self.bytes(which)?;
        while bytes.last() == Some(&0) {
            bytes.pop();
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

impl Drop for Program<'_> {
    fn drop(&mut self) {
        if !self.handle.is_null() {
            // SAFETY: the handle is of a program that was made and is freed once, here.
            unsafe { (self.nvrtc.destroy)(&mut self.handle) };
        }
    }
}

/// Reads the assembler's lines:
///
/// ```text
/// ptxas info    : Compiling entry function 'k' for 'sm_90'
/// ptxas info    : Function properties for k
///     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
/// ptxas info    : Used 10 registers, used 1 barriers, 4096 bytes smem
/// ```
fn usage(log: &str) -> Vec<Usage> {
    let mut found: Vec<Usage> = Vec::new();
    let number = |part: &str, what: &str| -> Option<u64> {
        part.trim().strip_suffix(what)?.trim().rsplit(' ').next()?.parse().ok()
    };
    for line in log.lines() {
        if let Some((_, rest)) = line.split_once("Compiling entry function '") {
            let kernel = rest.split('\'').next().unwrap_or(rest).to_string();
            found.push(Usage { kernel, ..Usage::default() });
            continue;
        }
        let Some(current) = found.last_mut() else { continue };
        for part in line.split(',') {
            if let Some(n) = number(part, "bytes stack frame") {
                current.stack_bytes = n;
            } else if let Some(n) = number(part, "bytes spill stores") {
                current.spill_store_bytes = n;
            } else if let Some(n) = number(part, "bytes spill loads") {
                current.spill_load_bytes = n;
            } else if let Some(n) = number(part, "bytes smem") {
                current.shared_bytes = n;
            } else if let Some(n) = number(part, "registers") {
                current.registers = n as u32;
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "
extern \"C\" __global__ void scale(float* x, float a, long long n) {
    __shared__ float tile[256];
    long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    tile[threadIdx.x] = i < n ? x[i] : 0.0f;
    __syncthreads();
    if (i < n) x[i] = tile[threadIdx.x ^ 1] * a;
}
extern \"C\" __global__ void other(int* x) { x[threadIdx.x] = 1; }
";

    /// The compiler, or nothing and a line that says so.
    fn found() -> Option<Nvrtc> {
        match Nvrtc::find(None) {
            Ok(nvrtc) => Some(nvrtc),
            Err(error) => {
                crate::codegen::cuda::tests::skipped(&error.to_string());
                None
            }
        }
    }

    #[test]
    fn text_becomes_ptx_and_machine_code() {
        let Some(nvrtc) = found() else { return };
        for architecture in ["sm_80", "sm_90"] {
            let compiled = nvrtc.compile(SOURCE, architecture).unwrap();
            assert!(compiled.ptx.contains(&format!(".target {architecture}")), "{}", compiled.ptx);
            assert!(compiled.ptx.contains(".visible .entry scale("));
            assert_eq!(&compiled.cubin[..4], b"\x7fELF");
            let names: Vec<&str> = compiled.usage.iter().map(|u| u.kernel.as_str()).collect();
            assert!(names.contains(&"scale") && names.contains(&"other"), "{}", compiled.log);
            let scale = compiled.usage.iter().find(|u| u.kernel == "scale").unwrap();
            assert!(scale.registers > 0 && scale.shared_bytes == 1024, "{scale:?}\n{}", compiled.log);
            assert_eq!((scale.stack_bytes, scale.spill_store_bytes, scale.spill_load_bytes), (0, 0, 0));
        }
    }

    #[test]
    fn errors_are_the_compilers_own_words() {
        let Some(nvrtc) = found() else { return };
        for (source, architecture, wanted) in [
            ("extern \"C\" __global__ void k() { undefined(); }", "sm_90", "undefined"),
            ("", "sm_1", "architecture"),
            ("a\0b", "sm_90", "zero byte"),
        ] {
            let error = nvrtc.compile(source, architecture).unwrap_err();
            assert!(matches!(&error, NvrtcError::Rejected(log) if log.contains(wanted)), "{error}");
        }
    }

    #[test]
    fn what_is_missing_or_broken_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let error = Nvrtc::find(Some(folder.path())).err().unwrap();
        assert!(
            matches!(error, NvrtcError::Absent(_)) && error.to_string().contains("pip install"),
            "{error}"
        );
        std::fs::write(folder.path().join("libnvrtc.so.13"), "no library").unwrap();
        let error = Nvrtc::find(Some(folder.path())).err().unwrap();
        assert!(matches!(error, NvrtcError::Unusable { .. }), "{error}");
    }

    #[test]
    fn the_assemblers_lines_are_read() {
        let log = "\
ptxas info    : 16 bytes gmem
ptxas info    : Compiling entry function 'a' for 'sm_90'
ptxas info    : Function properties for a
    8 bytes stack frame, 4 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers, 8 bytes cumulative stack size, 4096 bytes smem
ptxas info    : Compiling entry function 'b' for 'sm_90'
ptxas info    : Used 6 registers, used 0 barriers
";
        let a = Usage {
            kernel: "a".into(),
            registers: 255,
            stack_bytes: 8,
            spill_store_bytes: 4,
            spill_load_bytes: 12,
            shared_bytes: 4096,
        };
        let b = Usage { kernel: "b".into(), registers: 6, ..Usage::default() };
        assert_eq!(usage(log), [a, b]);
    }
}
