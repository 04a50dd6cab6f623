//! Bytes that know whether anything was written to them. Global, shared and local memory are made of these.

/// What is known of a byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum State {
    Unwritten,
    Written,
    /// The destination of an asynchronous copy that has not been waited for.
    InFlight,
    /// Between two variables: of nobody.
    Hole,
}

/// What an unwritten byte holds: four of them are a float of about -1.5e-13, eight an address of nothing.
pub const POISON: u8 = 0xa9;

#[derive(Clone, Debug, Default)]
pub struct Cells {
    bytes: Vec<u8>,
    states: Vec<State>,
}

impl Cells {
    pub fn new(bytes: usize, state: State) -> Cells {
        Cells { bytes: vec![POISON; bytes], states: vec![state; bytes] }
    }

    pub fn written(bytes: Vec<u8>) -> Cells {
        Cells { states: vec![State::Written; bytes.len()], bytes }
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn bytes(&self, at: usize, n: usize) -> &[u8] {
        &self.bytes[at..at + n]
    }

    /// The first state among the bytes that is not `Written`.
    pub fn flaw(&self, at: usize, n: usize) -> Option<State> {
        self.states[at..at + n].iter().copied().find(|s| *s != State::Written)
    }

    /// True if one of the bytes is in this state.
    pub fn has(&self, at: usize, n: usize, state: State) -> bool {
        self.states[at..at + n].contains(&state)
    }

    pub fn write(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        self.states[at..at + bytes.len()].fill(State::Written);
    }

    pub fn mark(&mut self, at: usize, n: usize, state: State) {
        self.states[at..at + n].fill(state);
    }

    pub fn extend(&mut self, n: usize, state: State) {
        self.bytes.resize(self.bytes.len() + n, POISON);
        self.states.resize(self.bytes.len(), state);
    }

    pub fn truncate(&mut self, n: usize) {
        self.bytes.truncate(n);
        self.states.truncate(n);
    }
}
