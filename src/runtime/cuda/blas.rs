//! Products by cuBLASLt, where it is on the machine.
//!
//! What enters: calls with addresses, a stream; choices of earlier runs. What leaves: the products, handed to the stream. What
//! makes a call (what was chosen for it, or else the library's own first choice, without sums whose order is left to chance) is found
//! out once, for each shape, type and alignment, and tried once before a step is taken down, for the first use of a
//! kernel loads it, which no recording allows. Invariants: a choice that fails is as none; a call that cannot be made is not made, and
//! the generated kernel is launched instead. Nothing is timed: what makes a call is a function of the call, the GPU, the library's version
//! and the choices, so that the same machine gives the same bits in every run until somebody chooses anew (`tune.rs`).

use super::device::{ALIGNMENT, Address, Region};
use crate::base::DType;
use crate::codegen::cuda::choices::{Algorithm, Choice, Choices, Product};
use crate::codegen::cuda::folders::{library, library_folders};
use crate::codegen::cuda::library::{Call, Factor};
use cudarc::cublaslt::result::{self, CublasError};
use cudarc::cublaslt::sys;
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::path::Path;

/// Memory that a product may use beside its result, of each stream that computes. NVIDIA's advice for Hopper
/// is twice as much.
pub const WORKSPACE_BYTES: u64 = 16 << 20;

pub struct Blas {
    handle: sys::cublasLtHandle_t,
    choices: Choices,
    /// Nothing where a call cannot be made, or the generated kernel was chosen.
    made: RefCell<HashMap<Product, Option<Made>>>,
}

/// What was chosen for a product fails.
pub struct Refused;

/// A call as the library makes it.
struct Made {
    description: Description,
    algorithm: Algorithm,
}

/// A call as the library is told of it.
pub struct Description {
    product: sys::cublasLtMatmulDesc_t,
    layouts: [sys::cublasLtMatrixLayout_t; 3],
}

impl Drop for Description {
    fn drop(&mut self) {
        // SAFETY: all were made once, in `describe`, and are used only while this lives.
        unsafe {
            let _ = result::destroy_matmul_desc(self.product);
            for layout in self.layouts.into_iter().filter(|layout| !layout.is_null()) {
                let _ = result::destroy_matrix_layout(layout);
            }
        }
    }
}

/// Where the result of a product goes, and the memory beside it.
#[derive(Clone, Copy)]
pub struct Place {
    pub workspace: Region,
    pub stream: sys::cudaStream_t,
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
        Some(Blas { handle, choices: Choices::default(), made: RefCell::default() })
    }

    /// As the library counts its versions.
    pub fn version(&self) -> usize {
        // SAFETY: the function may be called at any time.
        unsafe { sys::cublasLtGetVersion() }
    }

    /// From here on calls are made as was chosen for them.
    pub fn choose(&mut self, choices: Choices) {
        self.choices = choices;
        self.made.borrow_mut().clear();
    }

    /// Finds out what makes a call, and tries it; the result is overwritten.
    ///
    /// # Errors
    /// What was chosen for it fails, so that it is made as if nothing were.
    pub fn rehearse(&self, call: &Call, arguments: &[Region], place: Place) -> Result<(), Refused> {
        let product = product(call, arguments);
        if self.made.borrow().contains_key(&product) {
            return Ok(());
        }
        let tried = |description: Description, algorithm: Algorithm| {
            let works = self.run_as(call, arguments, &description, &algorithm, place).is_ok();
            works.then_some(Made { description, algorithm })
        };
        let first = || {
            if call.is_for_choice {
                return None;
            }
            let (description, offered) = self.offered(call, arguments, 1).ok()?;
            tried(description, *offered.first()?)
        };
        let (made, is_refused) = match self.choices.of(&product) {
            Some(Choice::GeneratedKernel) => (None, false),
            Some(Choice::Algorithm(algorithm)) => {
                let description = describe(call).ok();
                let chosen = description.and_then(|description| tried(description, algorithm));
                let is_refused = chosen.is_none();
                (chosen.or_else(first), is_refused)
            }
            None => (first(), false),
        };
        self.made.borrow_mut().insert(product, made);
        if is_refused { Err(Refused) } else { Ok(()) }
    }

    /// No call that was tried so far is made any more.
    pub fn give_up(&self) {
        self.made.borrow_mut().values_mut().for_each(|made| *made = None);
    }

    /// Whether the library makes a call that was rehearsed.
    pub fn makes(&self, call: &Call, arguments: &[Region]) -> bool {
        matches!(self.made.borrow().get(&product(call, arguments)), Some(Some(_)))
    }

    /// Hands a call that was rehearsed to a stream; `None` if it was not, or the library does not make it.
    pub fn run(&self, call: &Call, arguments: &[Region], place: Place) -> Option<Result<(), CublasError>> {
        let made = self.made.borrow();
        let made = made.get(&product(call, arguments))?.as_ref()?;
        Some(self.run_as(call, arguments, &made.description, &made.algorithm, place))
    }

    /// Hands a call to a stream, to be made by an algorithm that the library has offered for it.
    ///
    /// # Errors
    /// The library refuses.
    pub fn run_as(
        &self,
        call: &Call,
        arguments: &[Region],
        description: &Description,
        algorithm: &Algorithm,
        place: Place,
    ) -> Result<(), CublasError> {
        let at = |factor: &Factor| address(factor, arguments).0 as *mut c_void;
        let (alpha, beta) = (1f32, if call.accumulate { 1f32 } else { 0f32 });
        let [a, b, d] = description.layouts;
        let algorithm = sys::cublasLtMatmulAlgo_t { data: *algorithm };
        // SAFETY: the descriptions are live and of this call; the addresses are of live allocations, in which
        // `Call` keeps every element (it computes what the kernel does); the scalars and the algorithm, which is one
        // that this version of the library gave for such a call, are read before the call returns.
        unsafe {
            result::matmul(
                self.handle,
                description.product,
                (&raw const alpha).cast(),
                (&raw const beta).cast(),
                at(&call.a),
                a,
                at(&call.b),
                b,
                at(&call.d),
                d,
                at(&call.d),
                d,
                &raw const algorithm,
                place.workspace.address.0 as *mut c_void,
                place.workspace.bytes as usize,
                place.stream,
            )
        }
    }

    /// What the library offers for a call, at most so many algorithms, the one first that it takes for the fastest.
    ///
    /// # Errors
    /// It cannot make the call.
    pub fn offered(
        &self,
        call: &Call,
        arguments: &[Region],
        most: usize,
    ) -> Result<(Description, Vec<Algorithm>), CublasError> {
        use sys::cublasLtMatmulPreferenceAttributes_t as Wish;
        let description = describe(call)?;
        let wish = result::create_matmul_pref()?;
        let set = |which: Wish, value: &[u8]| {
            // SAFETY: the preference is live until the end of this function, and the value has the attribute's size.
            unsafe { result::set_matmul_pref_attribute(wish, which, value.as_ptr().cast(), value.len()) }
        };
        let none = sys::cublasLtReductionScheme_t::CUBLASLT_REDUCTION_SCHEME_NONE as u32;
        let [a, b, d] = alignments(call, arguments).map(u32::to_ne_bytes);
        let wishes: [(Wish, &[u8]); 6] = [
            (Wish::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &WORKSPACE_BYTES.to_ne_bytes()),
            (Wish::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &none.to_ne_bytes()),
            (Wish::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &a),
            (Wish::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &b),
            (Wish::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &d),
            (Wish::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &d),
        ];
        let [a, b, d] = description.layouts;
        let mut offers: Vec<MaybeUninit<sys::cublasLtMatmulHeuristicResult_t>> = Vec::new();
        offers.resize_with(most, MaybeUninit::zeroed);
        let mut n = 0;
        let found = wishes.into_iter().try_for_each(|(which, value)| set(which, value)).and_then(|()| {
            let (handle, product, to) = (self.handle, description.product, offers.as_mut_ptr().cast());
            // SAFETY: all descriptions are live; there is room for as many results as are asked for.
            unsafe {
                sys::cublasLtMatmulAlgoGetHeuristic(
                    handle,
                    product,
                    a,
                    b,
                    d,
                    d,
                    wish,
                    most as i32,
                    to,
                    &mut n,
                )
            }
            .result()
        });
        // SAFETY: the preference was made above and is used no more.
        let _ = unsafe { result::destroy_matmul_pref(wish) };
        found?;
        let found = offers.into_iter().take(n.max(0) as usize);
        // SAFETY: the library has written so many.
        let found = found.map(|offer| unsafe { offer.assume_init() });
        let usable = found.filter(|offer| offer.state.result().is_ok());
        Ok((description, usable.map(|offer| offer.algo.data).collect()))
    }
}

/// # Errors
/// The library cannot be told of such a call.
fn describe(call: &Call) -> Result<Description, CublasError> {
    use sys::cublasLtMatmulDescAttributes_t as Attribute;
    let compute = match call.allows_tf32 && call.a.dtype == DType::F32 {
        true => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32,
        false => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
    };
    let product = result::create_matmul_desc(compute, sys::cudaDataType::CUDA_R_32F)?;
    // What was made is freed whatever follows.
    let mut made = Description { product, layouts: [std::ptr::null_mut(); 3] };
    for (i, (factor, rows, columns)) in
        [(&call.a, call.m, call.k), (&call.b, call.k, call.n), (&call.d, call.m, call.n)]
            .into_iter()
            .enumerate()
    {
        made.layouts[i] = layout(factor, rows, columns, call.count)?;
    }
    for (which, factor) in
        [(Attribute::CUBLASLT_MATMUL_DESC_TRANSA, &call.a), (Attribute::CUBLASLT_MATMUL_DESC_TRANSB, &call.b)]
    {
        // CUBLAS_OP_N and CUBLAS_OP_T.
        let value = i32::from(factor.transposed);
        // SAFETY: the description is live, and the value is of the attribute's type.
        unsafe {
            result::set_matmul_desc_attribute(product, which, (&raw const value).cast(), size_of::<i32>())
        }?;
    }
    Ok(made)
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

/// What a call is to those who choose what makes it.
pub fn product(call: &Call, arguments: &[Region]) -> Product {
    Product::of(call, alignments(call, arguments))
}
