//! Dense tensors of f64, and the index arithmetic of the interpreter.
//!
//! Invariant: `data` holds one number for each index of `shape`, row-major. Integers and booleans (0 or 1) are
//! exact in f64. Not here: element types; a value's node has that.

/// A tensor of the interpreter.
#[derive(Clone, PartialEq, Debug)]
pub struct Tensor {
    pub shape: Vec<usize>,
    pub data: Vec<f64>,
}

impl Tensor {
    /// # Panics
    /// If there is not one number for each index.
    pub fn new(shape: impl Into<Vec<usize>>, data: impl Into<Vec<f64>>) -> Tensor {
        let (shape, data) = (shape.into(), data.into());
        assert_eq!(shape.iter().product::<usize>(), data.len(), "a tensor of shape {shape:?}");
        Tensor { shape, data }
    }

    pub fn scalar(value: f64) -> Tensor {
        Tensor { shape: Vec::new(), data: vec![value] }
    }

    /// `value` everywhere.
    pub fn full(shape: impl Into<Vec<usize>>, value: f64) -> Tensor {
        let shape = shape.into();
        let data = vec![value; shape.iter().product()];
        Tensor { shape, data }
    }

    /// The elements at `offsets`, as a tensor of `shape`.
    pub fn pick(&self, shape: &[usize], offsets: impl IntoIterator<Item = i64>) -> Tensor {
        Tensor::new(shape, offsets.into_iter().map(|at| self.data[at as usize]).collect::<Vec<_>>())
    }

    pub fn strides(&self) -> Vec<i64> {
        row_major(&self.shape)
    }
}

/// Elements from one index of each axis to the next, rows contiguous.
pub fn row_major(shape: &[usize]) -> Vec<i64> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis] as i64;
    }
    strides
}

/// `sum of index * stride` for every index of `shape`, in row-major order.
pub fn offsets(shape: &[usize], strides: &[i64]) -> Vec<i64> {
    let mut all = vec![0];
    for (&size, &stride) in shape.iter().zip(strides) {
        all = all.iter().flat_map(|at| (0..size as i64).map(move |i| at + i * stride)).collect();
    }
    all
}
