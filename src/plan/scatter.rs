//! Additions at places: a tile of the result at a time, by who owns it.
//!
//! What enters: a `ScatterAdd`. What leaves: whether its result is made by tiles of its rows, and tile ops. Scattered along its first
//! axis, a result is made of all updates, whatever rows they go to: as a whole by one thread, or by tiles, each of which walks through
//! all indices and adds what is its own. An element's additions come in the order of the updates either way, so no bit
//! changes. What is worked out from the rows follows in their tiles: the gradient of an embedding is added up and the table updated from
//! it a tile at a time, and the gradient never exists in memory.
//!
//! The cost model. Each tile looks at each index, and adds only the rows of a few: a look costs as much as `LOOK` elements of a row that
//! are added. So there may be as many tiles as a row has times `LOOK` elements, `MOST_TILES` and those that keep a tile in a cache;
//! a short row is made as a whole, as is a small result.

use super::lower::{Body, Lowerer, Storage};
use crate::base::Dim;
use crate::graph::{Graph, NodeId, Op};
use crate::nest::{Inst, Nest, Store, StoreKind, TileOp, Value};
use crate::scalar::Func;

/// Elements that are added in the time of a look at an index.
const LOOK: i64 = if cfg!(test) { 0 } else { 8 };
/// Tiles of a launch whose scratch is small, as `tile.rs` has them.
const MOST_TILES: i64 = 16;
/// Bytes of a tile's part of the result, likewise.
const TILE_BYTES: i64 = 512 * 1024;
/// Elements of updates that are worth the tiles. Few in tests, whose graphs are small.
const LARGE: i64 = if cfg!(test) { 8 } else { 1 << 18 };

/// Whether a node is a scatter along its rows whose result is worth tiles.
pub fn by_tiles(graph: &Graph, id: NodeId, max_batch: i64) -> bool {
    let node = graph.node(id);
    if !matches!(node.op, Op::ScatterAdd { axis: 0, batch: 0 }) {
        return false;
    }
    let n_index = graph.ty(node.operands[0]).rank();
    let size = |dims: &[Dim]| {
        let of = |dim: &Dim| dim.eval(&|symbol| (symbol == "batch").then_some(max_batch));
        dims.iter().try_fold(1i64, |n, dim| Some(n.saturating_mul(of(dim)?)))
    };
    let updates = &graph.ty(node.operands[1]).shape;
    let (Some(n), Some(width), Some(rows)) =
        (size(&updates[..n_index]), size(&updates[n_index..]), size(&node.ty.shape[..1]))
    else {
        return false;
    };
    let bytes = rows.saturating_mul(width).saturating_mul(node.ty.dtype.bytes() as i64);
    let n_tiles = MOST_TILES.max(bytes / TILE_BYTES);
    n_index > 0 && rows > 1 && n_tiles.saturating_mul(LOOK) <= width && n.saturating_mul(width) >= LARGE
}

impl Lowerer<'_> {
    pub fn lower_scatter(&mut self, id: NodeId, axis: usize, batch: usize) {
        self.zero(id);
        // A tile of the result's rows walks through all updates.
        let by_tiles = self.tiled && axis == 0;
        let tiled = self.tiled;
        self.tiled = tiled && !by_tiles;
        let ty = self.graph.ty(id).clone();
        let reads = self.reads.of(id);
        let mut body = Body::default();
        let mut index = self.value(&mut body, &reads[0]);
        let value = self.value(&mut body, &reads[1]);
        let own = ty.row_major_strides();
        let n_index = self.graph.ty(self.graph.node(id).operands[0]).rank() - batch;
        let stride = |i: usize| match i {
            i if i < axis => own[i].clone(),
            i if i < axis + n_index => Dim::from(0),
            i => own[i - n_index + 1].clone(),
        };
        let extents = &reads[1].extents;
        let strides: Vec<Dim> = (0..extents.len()).map(stride).collect();
        let axes = self.axes(extents, extents.len());
        self.tiled = tiled;
        let (mut bound, mut offset) = (ty.shape[axis].clone(), Dim::from(0));
        if by_tiles {
            index = from_start(&mut body, index);
            bound = Dim::symbol("tile");
            if let Storage::Global(_) = self.place(id).storage {
                offset = Dim::symbol("start") * own[0].clone();
            }
        }
        let access = self.access(id, &offset, &strides, true);
        let kind = StoreKind::AddAt { index, stride: own[axis].clone(), bound };
        let stores = vec![Store { value, access, kind }];
        self.out.push(TileOp::Nest(Nest { axes, body: body.insts, stores }));
    }
}

/// An index less the tile's first row. That is a size, which bodies have as f32 alone: as whole numbers they have indices of axes,
/// of which one that begins at the tile's first row is that much ahead of one that begins at 0.
fn from_start(body: &mut Body, index: Value) -> Value {
    let [ahead, behind] =
        [Dim::symbol("start"), Dim::from(0)].map(|offset| body.push(Inst::Index { axis: 0, offset }));
    let less = body.push(Inst::Call { func: Func::Sub, arguments: vec![index, ahead] });
    body.push(Inst::Call { func: Func::Add, arguments: vec![less, behind] })
}
