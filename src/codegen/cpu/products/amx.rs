//! AMX: tiles of sixteen rows in registers, and products of them in pairs of bf16.
//!
//! What enters: addresses. What leaves: a block of a result, up to two tiles by two. Invariant: tiles are shaped before a block is made,
//! and given back when `Tiles` is dropped, so that the thread's state is small again; between blocks no tile holds
//! anything. Not here: how factors are laid out, and what becomes of blocks (`tiles.rs`).
//!
//! The language has no stable names for these instructions yet, so a block is one piece of assembly.

use std::arch::asm;

/// Rows of a tile, and elements of 32 bits in a row.
pub const SIDE: usize = 16;
/// Terms that tiles multiply at a time: 64 bytes of a left row.
pub const STEP: usize = 2 * SIDE;
/// Bytes of a whole tile.
const TILE: usize = SIDE * ROW;
/// Bytes of a tile's whole row.
const ROW: usize = 4 * SIDE;

/// Whether the CPU has bf16 tiles and this process may use them. The kernel is asked once, for all threads; it grants what makes
/// a thread's saved state larger only to those who ask.
#[cfg(target_os = "linux")]
pub fn are_there() -> bool {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    use std::sync::OnceLock;
    static ANSWER: OnceLock<bool> = OnceLock::new();
    /// Leaf 7, in EDX.
    const AMX_BF16: u32 = 1 << 22;
    const AMX_TILE: u32 = 1 << 24;
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    /// The state that tiles are.
    const XTILEDATA: libc::c_long = 18;
    *ANSWER.get_or_init(|| {
        let needed = AMX_BF16 | AMX_TILE;
        let has = __cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx & needed == needed;
        // SAFETY: the call takes two numbers and touches no memory; kernels that do not know it refuse.
        has && unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XTILEDATA) } == 0
    })
}

/// How other systems are asked is not known here.
#[cfg(not(target_os = "linux"))]
pub fn are_there() -> bool {
    false
}

/// What `LDTILECFG` reads: Intel, "Software Developer's Manual", volume 1, chapter 18.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// This thread's tiles.
pub struct Tiles {
    shape: [usize; 2],
}

/// Rows of a left factor, each one's terms side by side.
#[derive(Clone, Copy)]
pub struct Rows {
    pub from: *const u16,
    /// Bytes from a row to the next.
    pub row: usize,
    /// Bytes from a step's terms to those of the next.
    pub step: usize,
    /// Bytes from a tile of rows to the next.
    pub tile: usize,
}

/// A block of a result, and its factors: `n_steps` times `STEP` terms.
pub struct Block {
    pub n_steps: usize,
    pub lhs: Rows,
    /// Whole tiles, two a step, side by side: a row is a pair of terms for each column.
    pub rhs: *const u16,
    pub out: *mut f32,
    /// Elements from a row to the next; columns are neighbours.
    pub out_row: usize,
    pub accumulate: bool,
}

impl Tiles {
    /// # Safety
    /// `are_there` has said so.
    pub unsafe fn begin() -> Tiles {
        Tiles { shape: [0; 2] }
    }

    /// Shapes the tiles for blocks of so many rows and columns, each from 1 to `2 * SIDE`.
    pub fn shape(&mut self, rows: usize, columns: usize) {
        if self.shape == [rows, columns] {
            return;
        }
        self.shape = [rows, columns];
        let mut all =
            Configuration { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
        let part = |n: usize, i: usize| n.saturating_sub(i * SIDE).min(SIDE);
        for i in 0..2 {
            // Where there is no second tile, its shape is empty and no block names it.
            let mut tile = |number: usize, rows: usize, elements: usize| {
                let is_empty = rows == 0 || elements == 0;
                all.rows[number] = if is_empty { 0 } else { rows as u8 };
                all.row_bytes[number] = if is_empty { 0 } else { 4 * elements as u16 };
            };
            for j in 0..2 {
                tile(2 * i + j, part(rows, i), part(columns, j));
            }
            tile(4 + i, part(rows, i), SIDE);
            tile(6 + i, if part(columns, i) == 0 { 0 } else { SIDE }, part(columns, i));
        }
        // SAFETY: the CPU has tiles, as `begin` was told; the configuration is 64 bytes and within palette 1's limits.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &raw const all, options(nostack, readonly, preserves_flags))
        };
    }

    /// Makes a block of the shape.
    ///
    /// # Safety
    /// All of the block's rows can be read, and those of its result (read, if it accumulates, and) written.
    pub unsafe fn block(&self, block: &Block) {
        let is_tall = self.shape[0] > SIDE;
        let is_wide = self.shape[1] > SIDE;
        // Tiles 0 to 3 are the result, 4 and 5 rows, 6 and 7 columns.
        macro_rules! block {
            ($($zero:literal)*; $($load:literal)*; $($step:literal)*; $($store:literal)*) => {
                asm!(
                    "test {accumulate:e}, {accumulate:e}",
                    "jnz 2f",
                    $($zero,)*
                    "jmp 3f",
                    "2:",
                    $($load,)*
                    "3:",
                    "test {n}, {n}",
                    "jz 5f",
                    "4:",
                    $($step,)*
                    "add {lhs}, {lhs_step}",
                    "add {below}, {lhs_step}",
                    "add {rhs}, {rhs_step}",
                    "dec {n}",
                    "jnz 4b",
                    "5:",
                    $($store,)*
                    n = inout(reg) block.n_steps => _,
                    lhs = inout(reg) block.lhs.from => _,
                    below = inout(reg) block.lhs.from.wrapping_byte_add(block.lhs.tile) => _,
                    lhs_row = in(reg) block.lhs.row,
                    lhs_step = in(reg) block.lhs.step,
                    rhs = inout(reg) block.rhs => _,
                    rhs_row = in(reg) ROW,
                    rhs_step = const 2 * TILE,
                    out = in(reg) block.out,
                    out_below = in(reg) block.out.wrapping_add(SIDE * block.out_row),
                    out_row = in(reg) 4 * block.out_row,
                    accumulate = in(reg) u32::from(block.accumulate),
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                )
            };
        }
        // SAFETY: `shape` has configured the tiles that are named; the caller vouches for the addresses, of which these
        // instructions touch what tiles' shapes cover and nothing else.
        unsafe {
            match (is_tall, is_wide) {
                (true, true) => block!(
                    "tilezero tmm0" "tilezero tmm1" "tilezero tmm2" "tilezero tmm3";
                    "tileloadd tmm0, [{out} + {out_row}]" "tileloadd tmm1, [{out} + {out_row} + 64]"
                    "tileloadd tmm2, [{out_below} + {out_row}]" "tileloadd tmm3, [{out_below} + {out_row} + 64]";
                    "tileloadd tmm6, [{rhs} + {rhs_row}]" "tileloadd tmm4, [{lhs} + {lhs_row}]"
                    "tdpbf16ps tmm0, tmm4, tmm6"
                    "tileloadd tmm7, [{rhs} + {rhs_row} + 1024]"
                    "tdpbf16ps tmm1, tmm4, tmm7"
                    "tileloadd tmm5, [{below} + {lhs_row}]"
                    "tdpbf16ps tmm2, tmm5, tmm6" "tdpbf16ps tmm3, tmm5, tmm7";
                    "tilestored [{out} + {out_row}], tmm0" "tilestored [{out} + {out_row} + 64], tmm1"
                    "tilestored [{out_below} + {out_row}], tmm2" "tilestored [{out_below} + {out_row} + 64], tmm3"
                ),
                (true, false) => block!(
                    "tilezero tmm0" "tilezero tmm2";
                    "tileloadd tmm0, [{out} + {out_row}]" "tileloadd tmm2, [{out_below} + {out_row}]";
                    "tileloadd tmm6, [{rhs} + {rhs_row}]"
                    "tileloadd tmm4, [{lhs} + {lhs_row}]" "tileloadd tmm5, [{below} + {lhs_row}]"
                    "tdpbf16ps tmm0, tmm4, tmm6" "tdpbf16ps tmm2, tmm5, tmm6";
                    "tilestored [{out} + {out_row}], tmm0" "tilestored [{out_below} + {out_row}], tmm2"
                ),
                (false, true) => block!(
                    "tilezero tmm0" "tilezero tmm1";
                    "tileloadd tmm0, [{out} + {out_row}]" "tileloadd tmm1, [{out} + {out_row} + 64]";
                    "tileloadd tmm6, [{rhs} + {rhs_row}]" "tileloadd tmm7, [{rhs} + {rhs_row} + 1024]"
                    "tileloadd tmm4, [{lhs} + {lhs_row}]"
                    "tdpbf16ps tmm0, tmm4, tmm6" "tdpbf16ps tmm1, tmm4, tmm7"
                    "/* {below} {out_below} */";
                    "tilestored [{out} + {out_row}], tmm0" "tilestored [{out} + {out_row} + 64], tmm1"
                ),
                (false, false) => block!(
                    "tilezero tmm0";
                    "tileloadd tmm0, [{out} + {out_row}]";
                    "tileloadd tmm6, [{rhs} + {rhs_row}]" "tileloadd tmm4, [{lhs} + {lhs_row}]"
                    "tdpbf16ps tmm0, tmm4, tmm6"
                    "/* {below} {out_below} */";
                    "tilestored [{out} + {out_row}], tmm0"
                ),
            }
        }
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: the CPU has tiles, as `begin` was told; nothing is in them.
        unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) };
    }
}
