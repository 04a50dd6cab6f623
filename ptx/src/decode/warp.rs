//! Decodes what threads do together: barriers, shuffles, votes, matches, reductions of a warp.

use super::reader::{Decoded, Reader};
use crate::code::{Op, ShuffleMode, Source, Tally, VoteMode};
use crate::types::Type;

const NONE: &str = "PTX has no such form of it";

pub fn decode(r: &mut Reader) -> Decoded<Option<Op>> {
    Ok(Some(match r.instruction.opcode.as_str() {
        "bar" | "barrier" => barrier(r)?,
        "shfl" => {
            r.take("sync");
            let mode = r.take_of(&[
                ("up", ShuffleMode::Up),
                ("down", ShuffleMode::Down),
                ("bfly", ShuffleMode::Butterfly),
                ("idx", ShuffleMode::Index),
            ]);
            let ty = r.take_type()?;
            let mut sources = [Source::Value(0); 4];
            for (i, source) in sources.iter_mut().enumerate() {
                *source = r.source(i + 1, ty)?;
            }
            Op::Shuffle { mode: mode.ok_or(NONE)?, dst: r.dst(0)?, truth: r.second_predicate(0)?, sources }
        }
        "vote" => {
            r.take("sync");
            let mode = r.take_of(&[
                ("all", VoteMode::All),
                ("any", VoteMode::Any),
                ("uni", VoteMode::Uniform),
                ("ballot", VoteMode::Ballot),
            ]);
            let mode = mode.ok_or(NONE)?;
            r.take_type()?;
            let dst = if mode == VoteMode::Ballot { r.dst(0)? } else { r.predicate(0)? };
            Op::Vote { mode, dst, truth: r.truth(1)?, mask: r.source(2, Type::B32)? }
        }
        "match" => {
            r.take("sync");
            let all = r.take("all");
            if !all && !r.take("any") {
                return Err(NONE.into());
            }
            let ty = r.take_type()?;
            let source = r.source(1, ty)?;
            Op::Match {
                all,
                dst: r.dst(0)?,
                truth: r.second_predicate(0)?,
                source,
                mask: r.source(2, Type::B32)?,
            }
        }
        "redux" => reduction(r)?,
        "elect" => {
            r.take("sync");
            let dst = r.dst(0)?;
            let truth = r.second_predicate(0)?.ok_or(NONE)?;
            Op::Elect { dst: Some(dst), truth, mask: r.source(1, Type::B32)? }
        }
        "activemask" => {
            r.take_type()?;
            Op::ActiveMask { dst: r.dst(0)? }
        }
        _ => return Ok(None),
    }))
}

fn barrier(r: &mut Reader) -> Decoded<Op> {
    if r.take("warp") {
        r.take("sync");
        return Ok(Op::WarpBarrier { mask: r.source(0, Type::B32)? });
    }
    // Without `.aligned`, the lanes of a warp may come apart; here they must come together all the same.
    r.take("cta");
    let arrive_only = r.take("arrive");
    if r.take("red") {
        let name = ["popc", "and", "or"].into_iter().find(|name| r.take(name)).ok_or(NONE)?;
        r.take_type()?;
        let tally = match name {
            "popc" => Tally::Count(r.dst(0)?),
            "and" => Tally::All(r.predicate(0)?),
            _ => Tally::Any(r.predicate(0)?),
        };
        let last = r.n_operands() - 1;
        let threads = if last > 2 { Some(r.source(2, Type::U32)?) } else { None };
        let tally = Some((tally, r.truth(last)?));
        return Ok(Op::Barrier { id: r.source(1, Type::U32)?, threads, arrive_only, tally });
    }
    if !arrive_only && !r.take("sync") {
        return Err(NONE.into());
    }
    let threads = if r.n_operands() > 1 { Some(r.source(1, Type::U32)?) } else { None };
    Ok(Op::Barrier { id: r.source(0, Type::U32)?, threads, arrive_only, tally: None })
}

fn reduction(r: &mut Reader) -> Decoded<Op> {
    r.take("sync");
    const NAMES: [&str; 6] = ["add", "min", "max", "and", "or", "xor"];
    let name = NAMES.into_iter().find(|name| r.take(name)).ok_or(NONE)?;
    let ty = r.take_type()?;
    let f: fn(u32, u32) -> u32 = match (name, ty) {
        ("add", Type::U32 | Type::S32) => u32::wrapping_add,
        ("min", Type::U32) => u32::min,
        ("max", Type::U32) => u32::max,
        ("min", Type::S32) => |a, b| (a as i32).min(b as i32) as u32,
        ("max", Type::S32) => |a, b| (a as i32).max(b as i32) as u32,
        ("and", _) => |a, b| a & b,
        ("or", _) => |a, b| a | b,
        ("xor", _) => |a, b| a ^ b,
        _ => return Err(NONE.into()),
    };
    Ok(Op::WarpReduce { f, dst: r.dst(0)?, source: r.source(1, ty)?, mask: r.source(2, Type::B32)? })
}
