//! Products by cuBLASLt, where it is on the machine.
//!
//! What enters: calls with addresses, a stream. What leaves: the products, handed to the stream. What the
//! library makes of a call (its own first choice, without sums whose order is left to chance) is asked once,
//! for each shape, type and alignment, and tried once before a step is taken down, for the first use of a
//! kernel loads it, which no recording allows. Invariant: a call that cannot be made is not made, and the
//! generated kernel is launched instead. Nothing is timed: the choice is a function of the call, the GPU and
//! the library's version, so that the same machine gives the same bits in every run.

use super::device::{ALIGNMENT, Address, Region};
use crate::base::DType;
use crate::codegen::cuda::folders::{library, library_folders};
use crate::codegen::cuda::library::{Call, Factor};
use cudarc::cublaslt::result::{self, CublasError};
use cudarc::cublaslt::sys;
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::c_void;
use std::path::Path;

/// Memory that a product may use beside its result, of each stream that computes. NVIDIA's advice for Hopper
/// is twice as much.
pub const WORKSPACE_BYTES: u64 = 16 << 20;

/// A call, and of how many bytes the addresses of its three matrices are multiples.
type Key = (Call, [u32; 3]);

pub struct Blas {
    handle: sys::cublasLtHandle_t,
    /// Nothing where a call cannot be made.
    made: RefCell<HashMap<Key, Option<Made>>>,
}

/// What the library makes of a call.
struct Made {
    product: sys::cublasLtMatmulDesc_t,
    layouts: [sys::cublasLtMatrixLayout_t; 3],
    algorithm: sys::cublasLtMatmulAlgo_t,
}

impl Drop for Made {
    fn drop(&mut self) {
        // SAFETY: all were made once, in `make`, and are used only while this lives.
        unsafe {
            let _ = result::destroy_matmul_desc(self.product);
            for layout in self.layouts.into_iter().filter(|layout| !layout.is_null()) {
                let _ = result::destroy_matrix_layout(layout);
            }
        }
    }
}

impl Drop for Blas {
    fn drop(&mut self) {
        self.made.borrow_mut().clear();
        // SAFETY: the handle was made once, and nothing of it is left.
        let _ = unsafe { result::destroy_handle(self.handle) };
    }
}

impl Blas {
    /// The library, if it can be found and used. The GPU's context is current.
    pub fn find(named: Option<&Path>) -> Option<Blas> {
        let path = library(&library_folders(named), "cublasLt")?;
        // cudarc looks for the library by its name, under which the system's loader then knows it.
        // SAFETY: loading the library runs its initialisers only.
        let loaded = unsafe { libloading::Library::new(path) }.ok()?;
        // It stays loaded for as long as the program runs.
        std::mem::forget(loaded);
        // SAFETY: as above.
        if !unsafe { sys::is_culib_present() } {
            return None;
        }
        let handle = result::create_handle().ok()?;
        Some(Blas { handle, made: RefCell::default() })
    }

    /// Asks what the library makes of a call, and tries it; the result is overwritten. False where it cannot be made.
    pub fn rehearse(
        &self,
        call: &Call,
        arguments: &[Region],
        workspace: Region,
        stream: sys::cudaStream_t,
    ) -> bool {
        let key = (call.clone(), alignments(call, arguments));
        let made = || self.make(call, key.1).ok();
        self.made.borrow_mut().entry(key.clone()).or_insert_with(made);
        let works = self.run(call, arguments, workspace, stream).is_some_and(|done| done.is_ok());
        if !works {
            self.made.borrow_mut().insert(key, None);
        }
        works
    }

    /// No call that was tried so far is made any more.
    pub fn give_up(&self) {
        self.made.borrow_mut().values_mut().for_each(|made| *made = None);
    }

    /// Hands a call that was rehearsed to a stream; `None` if it was not, or cannot be made.
    pub fn run(
        &self,
        call: &Call,
        arguments: &[Region],
        workspace: Region,
        stream: sys::cudaStream_t,
    ) -> Option<Result<(), CublasError>> {
        let made = self.made.borrow();
        let made = made.get(&(call.clone(), alignments(call, arguments)))?.as_ref()?;
        let place = |factor: &Factor| address(factor, arguments).0 as *mut c_void;
        let (alpha, beta) = (1f32, if call.accumulate { 1f32 } else { 0f32 });
        let [a, b, d] = made.layouts;
        // SAFETY: the descriptions are live and of this call; the addresses are of live allocations, in which
        // `Call` keeps every element (it computes what the kernel does); the scalars are read before the call
        // returns.
        Some(unsafe {
            result::matmul(
                self.handle,
                made.product,
                (&raw const alpha).cast(),
                (&raw const beta).cast(),
                place(&call.a),
                a,
                place(&call.b),
                b,
                place(&call.d),
                d,
                place(&call.d),
                d,
                &raw const made.algorithm,
                workspace.address.0 as *mut c_void,
                workspace.bytes as usize,
                stream,
            )
        })
    }

    fn make(&self, call: &Call, alignments: [u32; 3]) -> Result<Made, CublasError> {
        use sys::cublasLtMatmulDescAttributes_t as Product;
        use sys::cublasLtMatmulPreferenceAttributes_t as Wish;
        let compute = match call.allows_tf32 && call.a.dtype == DType::F32 {
            true => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32,
            false => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
        };
        let scale = sys::cudaDataType::CUDA_R_32F;
        let product = result::create_matmul_desc(compute, scale)?;
        // What was made is freed whatever follows.
        let mut made = Made { product, layouts: [std::ptr::null_mut(); 3], algorithm: zeroed() };
        for (i, (factor, rows, columns)) in
            [(&call.a, call.m, call.k), (&call.b, call.k, call.n), (&call.d, call.m, call.n)]
                .into_iter()
                .enumerate()
        {
            made.layouts[i] = layout(factor, rows, columns, call.count)?;
        }
        for (which, factor) in
            [(Product::CUBLASLT_MATMUL_DESC_TRANSA, &call.a), (Product::CUBLASLT_MATMUL_DESC_TRANSB, &call.b)]
        {
            // CUBLAS_OP_N and CUBLAS_OP_T.
            let value = i32::from(factor.transposed);
            // SAFETY: the description is live, and the value is of the attribute's type.
            unsafe {
                result::set_matmul_desc_attribute(product, which, (&raw const value).cast(), size_of::<i32>())
            }?;
        }
        let wish = result::create_matmul_pref()?;
        let set = |which: Wish, value: &[u8]| {
            // SAFETY: the preference is live until the end of this function, and the value has the attribute's size.
            unsafe { result::set_matmul_pref_attribute(wish, which, value.as_ptr().cast(), value.len()) }
        };
        let none = sys::cublasLtReductionScheme_t::CUBLASLT_REDUCTION_SCHEME_NONE as u32;
        let [a, b, d] = alignments.map(u32::to_ne_bytes);
        let wishes: [(Wish, &[u8]); 6] = [
            (Wish::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &WORKSPACE_BYTES.to_ne_bytes()),
            (Wish::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &none.to_ne_bytes()),
            (Wish::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &a),
            (Wish::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &b),
            (Wish::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &d),
            (Wish::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &d),
        ];
        let [a, b, d] = made.layouts;
        let found = wishes.into_iter().try_for_each(|(which, value)| set(which, value)).and_then(|()| {
            // SAFETY: all descriptions are live.
            unsafe { result::get_matmul_algo_heuristic(self.handle, product, a, b, d, d, wish) }
        });
        // SAFETY: the preference was made above and is used no more.
        let _ = unsafe { result::destroy_matmul_pref(wish) };
        made.algorithm = found?.algo;
        Ok(made)
    }
}

fn layout(
    factor: &Factor,
    rows: u64,
    columns: u64,
    count: u64,
) -> Result<sys::cublasLtMatrixLayout_t, CublasError> {
    use sys::cublasLtMatrixLayoutAttribute_t as Layout;
    let (rows, columns) = if factor.transposed { (columns, rows) } else { (rows, columns) };
    let ty = match factor.dtype {
        DType::BF16 => sys::cudaDataType::CUDA_R_16BF,
        _ => sys::cudaDataType::CUDA_R_32F,
    };
    let layout = result::create_matrix_layout(ty, rows, columns, factor.leading as i64)?;
    let (count, stride) = (count as i32, factor.stride as i64);
    // SAFETY: the layout is live, and both values are of their attribute's type.
    unsafe {
        let which = Layout::CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT;
        result::set_matrix_layout_attribute(layout, which, (&raw const count).cast(), size_of::<i32>())?;
        let which = Layout::CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET;
        result::set_matrix_layout_attribute(layout, which, (&raw const stride).cast(), size_of::<i64>())?;
    }
    Ok(layout)
}

/// Where a matrix begins.
fn address(factor: &Factor, arguments: &[Region]) -> Address {
    arguments[factor.argument].address.plus(factor.offset * factor.dtype.bytes() as u64)
}

/// The greatest powers of two, up to `ALIGNMENT`, of which the matrices' addresses are multiples.
fn alignments(call: &Call, arguments: &[Region]) -> [u32; 3] {
    let of = |factor: &Factor| 1u32 << (address(factor, arguments).0 | ALIGNMENT).trailing_zeros();
    [&call.a, &call.b, &call.d].map(of)
}

/// An algorithm that is overwritten before it is used.
fn zeroed() -> sys::cublasLtMatmulAlgo_t {
    sys::cublasLtMatmulAlgo_t { data: [0; 8] }
}
