//! What makes a product fastest on a GPU, where it was timed; kept on disk.
//!
//! What enters: products, and what was chosen for them. What leaves: the choice for a product, or nothing, which leaves it to the
//! library, but for one whose factors are made in gradc's own kernel. A file is for one kind of GPU and one version of cuBLASLt, by whose hash it is named, for an algorithm means something to
//! the version that gave it and to no other (NVIDIA, cuBLAS, `cublasLtMatmulAlgo_t`). The driver's version is not in the name: it decides
//! neither which algorithms there are nor what they compute, and a new driver would bring other bits back that nobody asked for.
//! Invariants: a file is used whole or not at all, for it carries its own hash; nobody removes one but who is asked to (`prune.rs`
//! removes cubins only); of two processes that keep choices at once the later one's stay. Not here: timing.

use super::cache::hash;
use super::library::{Call, Factor};
use crate::base::DType;
use crate::base::files::write_atomically;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Another number where the form, or what a choice depends on, changes.
const FORMAT: &str = "gradc products 3";

/// cuBLASLt's `cublasLtMatmulAlgo_t`: opaque.
pub type Algorithm = [u64; 8];

/// All of a call that decides how it is best made: not where its matrices are, but how they lie.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Product {
    pub m: u64,
    pub n: u64,
    pub k: u64,
    pub count: u64,
    pub a: Matrix,
    pub b: Matrix,
    pub d: Matrix,
    pub accumulate: bool,
    /// Whether factors are rounded to tf32.
    pub tf32: bool,
    /// A hash of the kernel that makes the product together with what its factors are made of and what is made of it, if one does.
    pub fused: Option<SmolStr>,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Matrix {
    #[serde(with = "name")]
    pub dtype: DType,
    pub leading: u64,
    pub stride: u64,
    pub transposed: bool,
    /// Of how many bytes its address is a multiple.
    pub alignment: u32,
}

impl Product {
    /// `alignments` are those of `a`, `b` and `d`.
    pub fn of(call: &Call, alignments: [u32; 3]) -> Product {
        let [a, b, d] = alignments;
        let matrix = |factor: &Factor, alignment: u32| Matrix {
            dtype: factor.dtype,
            leading: factor.leading,
            stride: factor.stride,
            transposed: factor.transposed,
            alignment,
        };
        Product {
            m: call.m,
            n: call.n,
            k: call.k,
            count: call.count,
            a: matrix(&call.a, a),
            b: matrix(&call.b, b),
            d: matrix(&call.d, d),
            accumulate: call.accumulate,
            tf32: call.allows_tf32 && call.a.dtype == DType::F32,
            fused: call.fused.clone(),
        }
    }
}

/// What makes a product.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// gradc's own, with what it is fused with.
    GeneratedKernel,
    /// The library's; kernels before and behind it do the rest.
    Algorithm(Algorithm),
}

/// Choices by product.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Choices(BTreeMap<Product, Choice>);

impl Choices {
    pub fn of(&self, product: &Product) -> Option<Choice> {
        self.0.get(product).copied()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(Product, Choice)> for Choices {
    fn from_iter<I: IntoIterator<Item = (Product, Choice)>>(choices: I) -> Choices {
        Choices(choices.into_iter().collect())
    }
}

/// What choices hold for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Machine {
    /// `NVIDIA H100 80GB HBM3`
    pub gpu: String,
    /// `sm_90`
    pub architecture: String,
    /// As the library counts its versions.
    pub cublaslt: usize,
}

/// A file that is there and cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("what products were tuned to in `{}` is ignored: {why}", path.display())]
pub struct Unusable {
    path: PathBuf,
    why: String,
}

/// The place of a machine's choices.
#[derive(Clone, Debug)]
pub struct Store {
    path: PathBuf,
    machine: Machine,
}

#[derive(Serialize, Deserialize)]
struct Contents {
    format: String,
    machine: Machine,
    products: Vec<Known>,
}

#[derive(Serialize, Deserialize)]
struct Known {
    product: Product,
    choice: Choice,
}

#[derive(Serialize, Deserialize)]
struct Text {
    #[serde(flatten)]
    contents: Contents,
    /// Of the contents, so that what was cut off or altered is not used.
    hash: String,
}

impl Contents {
    fn hash(&self) -> String {
        let text = serde_json::to_string(self).expect("all keys are text");
        blake3::hash(text.as_bytes()).to_hex().to_string()
    }
}

impl Store {
    pub fn new(folder: &Path, machine: Machine) -> Store {
        let version = machine.cublaslt.to_string();
        let parts = [FORMAT, &machine.gpu, &machine.architecture, &version];
        Store { path: folder.join(format!("products-{}.json", hash(parts))), machine }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// None are known where there is no file.
    ///
    /// # Errors
    /// There is one that cannot be used.
    pub fn read(&self) -> Result<Choices, Unusable> {
        let unusable = |why: String| Unusable { path: self.path.clone(), why };
        let text = match std::fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Choices::default()),
            Err(error) => return Err(unusable(error.to_string())),
        };
        let text: Text = serde_json::from_slice(&text).map_err(|error| unusable(error.to_string()))?;
        let contents = text.contents;
        if contents.hash() != text.hash {
            return Err(unusable("it was altered".into()));
        }
        if contents.format != FORMAT || contents.machine != self.machine {
            return Err(unusable("it is of another machine".into()));
        }
        Ok(contents.products.into_iter().map(|known| (known.product, known.choice)).collect())
    }

    /// Adds choices to those that are kept; a file that cannot be used is replaced.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep(&self, new: Choices) -> std::io::Result<()> {
        let mut all = self.read().unwrap_or_default();
        all.0.extend(new.0);
        let products = all.0.into_iter().map(|(product, choice)| Known { product, choice }).collect();
        let contents = Contents { format: FORMAT.into(), machine: self.machine.clone(), products };
        let hash = contents.hash();
        let mut text = serde_json::to_vec_pretty(&Text { contents, hash })?;
        text.push(b'\n');
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        write_atomically(&self.path, &text)
    }

    /// Removes the file; says how many choices it had.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn forget(&self) -> std::io::Result<usize> {
        let n = self.read().map_or(0, |choices| choices.len());
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(n),
        }
    }
}

/// A type as text.
mod name {
    use crate::base::DType;
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;
    use smol_str::SmolStr;

    pub fn serialize<S: Serializer>(dtype: &DType, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(dtype.name())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<DType, D::Error> {
        let name = SmolStr::deserialize(from)?;
        DType::from_name(&name).ok_or_else(|| D::Error::custom(format!("there is no type `{name}`")))
    }
}

#[cfg(test)]
mod tests {
    use super::super::prune::prune;
    use super::*;

    fn factor(argument: usize, offset: u64) -> Factor {
        Factor { argument, dtype: DType::F32, offset, leading: 64, stride: 0, transposed: false }
    }

    fn call() -> Call {
        let (a, b, d) = (factor(0, 0), factor(1, 8), factor(2, 0));
        Call {
            m: 64,
            n: 32,
            k: 16,
            count: 1,
            a,
            b,
            d,
            accumulate: false,
            allows_tf32: false,
            fused: None,
            is_for_choice: false,
        }
    }

    fn product(n: u64) -> Product {
        Product::of(&Call { n, ..call() }, [256; 3])
    }

    fn algorithm(n: u64) -> Choice {
        // Beyond what a number with a fraction tells apart.
        Choice::Algorithm([n, u64::MAX, 1 << 60, 0, 1, 2, 3, (1 << 53) + 1])
    }

    fn machine() -> Machine {
        Machine { gpu: "Pretender".into(), architecture: "sm_90".into(), cublaslt: 130_100 }
    }

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(&folder.path().join("a/b"), machine());
        (folder, store)
    }

    #[test]
    fn what_was_kept_comes_back_and_the_later_choice_stays() {
        let (_folder, store) = store();
        assert_eq!(store.read(), Ok(Choices::default()));
        store.keep(Choices::from_iter([(product(1), algorithm(1)), (product(2), algorithm(2))])).unwrap();
        store
            .keep(Choices::from_iter([(product(2), Choice::GeneratedKernel), (product(3), algorithm(3))]))
            .unwrap();
        let known = store.read().unwrap();
        let expected =
            [Some(algorithm(1)), Some(Choice::GeneratedKernel), Some(algorithm(3)), None::<Choice>];
        assert_eq!([1, 2, 3, 4].map(|n| known.of(&product(n))), expected);
        // Another process finds them under the same name.
        assert_eq!(Store::new(store.path().parent().unwrap(), machine()).read().unwrap(), known);
        assert_eq!((store.forget().unwrap(), store.forget().unwrap()), (3, 0));
        assert_eq!(store.read(), Ok(Choices::default()));
    }

    #[test]
    fn what_is_damaged_or_foreign_is_not_used_and_is_replaced() {
        let (_folder, store) = store();
        store.keep(Choices::from_iter([(product(1), algorithm(1))])).unwrap();
        let whole = std::fs::read_to_string(store.path()).unwrap();
        let mut damaged: Vec<String> =
            (0..whole.len() - 2).step_by(7).map(|n| whole[..n].to_string()).collect();
        let altered = [
            ("\"m\": 64", "\"m\": 65"),
            ("f32", "f64"),
            ("f32", "bf16"),
            ("sm_90", "sm_80"),
            ("false", "true"),
        ];
        damaged.extend(altered.map(|(from, to)| whole.replacen(from, to, 1)));
        damaged.push("{}".into());
        // Whole, but of another library.
        let other =
            Store { path: store.path().to_path_buf(), machine: Machine { cublaslt: 130_200, ..machine() } };
        other.keep(Choices::from_iter([(product(1), algorithm(7))])).unwrap();
        damaged.push(std::fs::read_to_string(store.path()).unwrap());
        for text in damaged {
            std::fs::write(store.path(), &text).unwrap();
            let error = store.read().expect_err(&text).to_string();
            assert!(error.contains("is ignored: ") && error.contains("products-"), "{error}");
            store.keep(Choices::from_iter([(product(2), algorithm(2))])).unwrap();
            assert_eq!(store.read().unwrap(), Choices::from_iter([(product(2), algorithm(2))]));
        }
    }

    #[test]
    fn all_that_decides_tells_files_and_products_apart() {
        let folder = Path::new("folder");
        let path = |machine: Machine| Store::new(folder, machine).path;
        let machines = [
            machine(),
            Machine { gpu: "Pretendersm_90".into(), architecture: String::new(), ..machine() },
            Machine { architecture: "sm_80".into(), ..machine() },
            Machine { cublaslt: 130_101, ..machine() },
        ];
        let paths = machines.map(path);
        assert!((0..4).all(|i| paths[..i].iter().all(|path| *path != paths[i])), "{paths:?}");

        let call = call();
        let bf16 = |factor: &Factor| Factor { dtype: DType::BF16, ..factor.clone() };
        let calls = [
            call.clone(),
            Call { m: 65, ..call.clone() },
            Call { k: 17, ..call.clone() },
            Call { count: 2, ..call.clone() },
            Call { accumulate: true, ..call.clone() },
            Call { allows_tf32: true, ..call.clone() },
            Call { fused: Some("a".into()), ..call.clone() },
            Call { fused: Some("b".into()), ..call.clone() },
            Call { a: bf16(&call.a), b: bf16(&call.b), ..call.clone() },
            Call { b: Factor { transposed: true, ..call.b.clone() }, ..call.clone() },
            Call { d: Factor { leading: 65, ..call.d.clone() }, ..call.clone() },
            Call { a: Factor { stride: 9, ..call.a.clone() }, ..call.clone() },
        ];
        let of = |call: &Call| Product::of(call, [256; 3]);
        let products: Vec<Product> =
            calls.iter().map(of).chain([Product::of(&call, [256, 256, 16])]).collect();
        assert!((0..products.len()).all(|i| products[..i].iter().all(|product| *product != products[i])));
        // Where the matrices are does not matter, nor what is allowed and cannot be.
        let elsewhere = Call { a: factor(5, 64), ..call.clone() };
        assert_eq!(of(&elsewhere), products[0]);
        assert_eq!(of(&Call { allows_tf32: true, ..calls[8].clone() }), products[8]);
    }

    #[test]
    fn a_folder_that_is_made_smaller_keeps_choices() {
        let (_folder, store) = store();
        store.keep(Choices::from_iter([(product(1), algorithm(1))])).unwrap();
        let folder = store.path().parent().unwrap();
        std::fs::write(folder.join("old.cubin"), [0; 100]).unwrap();
        prune(folder, "cubin", 0);
        assert!(!folder.join("old.cubin").exists());
        assert_eq!(store.read().unwrap().len(), 1);
    }

    /// As processes do that share a folder.
    #[test]
    fn many_may_keep_and_read_at_once() {
        let (_folder, store) = store();
        std::thread::scope(|scope| {
            for n in 0..4 {
                let store = &store;
                scope.spawn(move || {
                    for i in 0..20 {
                        store.keep(Choices::from_iter([(product(10 * n + i % 3), algorithm(n))])).unwrap();
                        let known = store.read().unwrap();
                        let all = (0..40).filter_map(|n| Some((n, known.of(&product(n))?)));
                        all.for_each(|(i, choice)| assert_eq!(choice, algorithm(i / 10)));
                    }
                });
            }
        });
        assert!(!store.read().unwrap().is_empty());
        assert_eq!(std::fs::read_dir(store.path().parent().unwrap()).unwrap().count(), 1);
    }
}
