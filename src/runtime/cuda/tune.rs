//! Products of a program, timed as each of what can make them.
//!
//! What enters: a program of a session on a GPU, of which a step was taken, so that there are numbers to multiply. What leaves: its
//! products, and of each the seconds that cuBLASLt's algorithms take for it, and the generated kernel. Each is taken down as many
//! launches in a row, for handed over one by one a small product takes as long as the host needs for that; and all are timed in
//! turns, so that a clock that is raised or lowered meanwhile favours none. A product with what its factors are made of or what is made of it is timed
//! with that: as one kernel, or as the library's among other kernels. What is written lies in the arena, where nothing counts between steps, or is a variable
//! that an epilogue gives a new value, as a step would. Not here: keeping a choice (`codegen/cuda/choices.rs`), making calls by it (`blas.rs`).

use super::blas::product;
use super::device::{Device, DeviceError, Launch, Stream};
use super::driver::Driver;
use super::handles::Graph;
use super::program::Code;
use super::session::{ProgramId, Session};
use crate::codegen::cuda::choices::{Algorithm, Choice, Product, Store};
use smol_str::SmolStr;
use std::io;

/// Algorithms that the library is asked for.
const MOST_ALGORITHMS: usize = 8;
/// What is taken down at once lasts about so many seconds, and is no more than so many launches.
const SECONDS: f64 = 2e-3;
const MOST_LAUNCHES: f64 = 64.0;
/// How often each is timed; the first time is for warming up.
const N_TURNS: usize = 6;

/// Seconds of a product, the least that were seen.
#[derive(Clone, PartialEq, Debug)]
pub struct Timed {
    /// By each of cuBLASLt's algorithms, the one first that it takes for the fastest; nothing where it refuses.
    pub algorithms: Vec<(Algorithm, Option<f64>)>,
    pub generated: f64,
    /// Whether the library makes it only where that was chosen.
    pub is_for_choice: bool,
}

impl Timed {
    /// Seconds of what makes the product where nothing is chosen.
    pub fn first(&self) -> f64 {
        let first = self.algorithms.first().filter(|_| !self.is_for_choice);
        first.and_then(|(_, seconds)| *seconds).unwrap_or(self.generated)
    }

    /// The fastest, and its seconds; of two that are as fast the library's, and the one that it takes for faster.
    pub fn best(&self) -> (Choice, f64) {
        let of_library = self.algorithms.iter();
        let of_library =
            of_library.filter_map(|(algorithm, seconds)| Some((Choice::Algorithm(*algorithm), (*seconds)?)));
        let all = of_library.chain([(Choice::GeneratedKernel, self.generated)]);
        all.min_by(|x, y| x.1.total_cmp(&y.1)).expect("there is always the kernel")
    }
}

/// What can make a product, with as many launches as are timed at once.
struct Candidate {
    /// Nothing is the generated kernel.
    algorithm: Option<Algorithm>,
    taken_down: Graph,
    n: usize,
    seconds: f64,
}

impl Driver {
    /// Where choices of what makes products are kept.
    ///
    /// # Errors
    /// There is no cuBLASLt, or no folder.
    pub fn store(&self) -> Result<&Store, DeviceError> {
        let missing = |what: &str| Err(DeviceError::Missing(what.into()));
        match (&self.blas, &self.store) {
            (None, _) => missing(
                "there is no cuBLASLt that can be used, so that all products are gradc's own kernels and there is nothing to choose \
                 (`pip install nvidia-cublas` brings it; `gradc devices` says what is found)",
            ),
            (_, None) => missing(
                "there is no folder to keep choices in: GRADC_CACHE is empty, or no home folder is known",
            ),
            (_, Some(store)) => Ok(store),
        }
    }

    /// Keeps the fastest of what was timed, for drivers that are opened from now on.
    ///
    /// # Errors
    /// There is no place for it.
    pub fn keep<'t>(&self, timed: impl IntoIterator<Item = (&'t Product, &'t Timed)>) -> io::Result<()> {
        let store = self.store().map_err(io::Error::other)?;
        store.keep(timed.into_iter().map(|(product, timed)| (product.clone(), timed.best().0)).collect())
    }
}

impl Session<Driver> {
    /// The products of a step that a library may make, each once, and how many launches have it.
    pub fn products(&mut self, program: ProgramId, batch: usize) -> Vec<(Product, usize)> {
        let mut products: Vec<(Product, usize)> = Vec::new();
        for (_, product) in self.calls(program, batch) {
            match products.iter_mut().find(|(known, _)| *known == product) {
                Some((_, n)) => *n += 1,
                None => products.push((product, 1)),
            }
        }
        products
    }

    fn calls(&mut self, program: ProgramId, batch: usize) -> Vec<(Launch, Product)> {
        let variable = |name: &SmolStr| self.variables[name].region();
        let program = &mut self.programs[program.0];
        // Nothing of a step that is one launch is a library's.
        if matches!(program.code, Code::Whole(..)) {
            return Vec::new();
        }
        let recorded = program.recorded(batch as i64);
        let launches = program.launches(&variable, &program.recorded[recorded], &program.slots[0]);
        let of = |launch: Launch| {
            let of_call = launch.product();
            let product = product(of_call.call.as_ref()?, &of_call.arguments);
            Some((launch, product))
        };
        launches.into_iter().flatten().filter_map(of).collect()
    }

    /// Times one of a program's products.
    ///
    /// # Errors
    /// The device has failed; it has no library.
    ///
    /// # Panics
    /// If it is not among `products`.
    pub fn time_product(
        &mut self,
        program: ProgramId,
        batch: usize,
        product: &Product,
    ) -> Result<Timed, DeviceError> {
        self.finish(program, 0)?;
        let calls = self.calls(program, batch);
        let found = calls.into_iter().find(|(_, known)| known == product);
        let (launch, _) = found.expect("it is one of the program's");
        let arguments = &launch.product().arguments;
        let call = launch.product().call.clone().expect("it is a call");
        // Nothing is left to the device's own choice.
        let as_kernel = |launch: &Launch| Launch { call: None, apart: None, ..launch.clone() };
        let kernels = |launches: &[Launch]| launches.iter().map(as_kernel).collect::<Vec<_>>();
        let (before, behind) = match &launch.apart {
            Some(apart) => {
                (kernels(&apart.launches[..apart.product]), kernels(&apart.launches[apart.product + 1..]))
            }
            None => Default::default(),
        };
        let launch = as_kernel(&launch);
        let (device, program) = (&self.device, &self.programs[program.0]);
        device.store()?;
        let (blas, workspaces) = device.blas.as_ref().expect("there is a library where there is a store");
        let place = device.place(workspaces, Stream::Compute);
        let (module, entry) = (program.kernels(), &program.entries[launch.kernel]);
        let start =
            |launch: &Launch| device.launch(Stream::Compute, module, &program.entries[launch.kernel], launch);
        let offered = device.call("a product", || Ok(blas.offered(&call, arguments, MOST_ALGORITHMS)))?;
        let offered = offered.map(|(description, algorithms)| (Some(description), algorithms));
        // What the library cannot make leaves the kernel.
        let (description, algorithms) = offered.unwrap_or_default();
        let hand_over = |algorithm: &Option<Algorithm>| match (&description, algorithm) {
            (None, _) | (_, None) => start(&launch),
            (Some(description), Some(algorithm)) => {
                before.iter().try_for_each(start)?;
                let run = || Ok(blas.run_as(&call, arguments, description, algorithm, place));
                let run = device.call("a product", run)?;
                run.map_err(|error| device.refused_product(&entry.name, error))?;
                behind.iter().try_for_each(start)
            }
        };
        let mut candidates = Vec::new();
        for algorithm in algorithms.iter().copied().map(Some).chain([None]) {
            // The first use of a kernel loads it. What is refused here is no candidate; what fails later ends all.
            let refused = hand_over(&algorithm).err();
            device.call("a product", || device.wait_for_all())?;
            match (refused, algorithm) {
                (None, _) => {}
                (Some(_), Some(_)) => continue,
                (Some(error), None) => return Err(error),
            }
            let times = device.time(2, &mut |_| hand_over(&algorithm))?;
            let of_one = times.into_iter().fold(f64::INFINITY, f64::min);
            let n = (SECONDS / of_one).clamp(1.0, MOST_LAUNCHES) as usize;
            let taken_down = device.record_graph(&mut || (0..n).try_for_each(|_| hand_over(&algorithm)))?;
            candidates.push(Candidate { algorithm, taken_down, n, seconds: f64::INFINITY });
        }
        for turn in 0..N_TURNS {
            for candidate in &mut candidates {
                let time = device.time(1, &mut |_| device.run(&candidate.taken_down))?[0];
                if turn > 0 {
                    candidate.seconds = candidate.seconds.min(time / candidate.n as f64);
                }
            }
        }
        let seconds = |algorithm: Option<Algorithm>| {
            candidates.iter().find(|candidate| candidate.algorithm == algorithm).map(|found| found.seconds)
        };
        Ok(Timed {
            algorithms: algorithms
                .into_iter()
                .map(|algorithm| (algorithm, seconds(Some(algorithm))))
                .collect(),
            generated: seconds(None).expect("it was timed"),
            is_for_choice: call.is_for_choice,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fastest_is_chosen() {
        let (slow, fast, refused) = ([1; 8], [2; 8], [3; 8]);
        let timed = |algorithms: &[(Algorithm, Option<f64>)], generated: f64| Timed {
            algorithms: algorithms.to_vec(),
            generated,
            is_for_choice: false,
        };
        let (kernel, library) = (Choice::GeneratedKernel, Choice::Algorithm);
        // What was timed; what is best, and what would be taken without choosing.
        let cases = [
            (timed(&[(slow, Some(3.0)), (fast, Some(1.0))], 2.0), (library(fast), 1.0), 3.0),
            (timed(&[(slow, Some(3.0)), (fast, Some(2.5))], 2.0), (kernel, 2.0), 3.0),
            (timed(&[(refused, None), (fast, Some(1.0))], 2.0), (library(fast), 1.0), 2.0),
            (timed(&[(refused, None)], 2.0), (kernel, 2.0), 2.0),
            (timed(&[], 2.0), (kernel, 2.0), 2.0),
            (timed(&[(slow, Some(2.0)), (fast, Some(2.0))], 2.0), (library(slow), 2.0), 2.0),
            (Timed { is_for_choice: true, ..timed(&[(fast, Some(1.0))], 2.0) }, (library(fast), 1.0), 2.0),
        ];
        for (timed, best, first) in cases {
            assert_eq!((timed.best(), timed.first()), (best, first), "{timed:?}");
        }
    }
}
