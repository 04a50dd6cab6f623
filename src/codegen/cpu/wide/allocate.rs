//! Homes for virtual registers: linear scan, over whole lives.
//!
//! What enters: a program. What leaves: it, without ops whose results nobody reads, and for each register its home: a machine
//! register, a place on the stack, or, for a constant, the place in memory where it stands anyway. A life lasts from the first
//! definition to the last use; a use inside of a loop of what is defined before it lasts to the loop's end. Who is used least for
//! each op of its life, weighted by loops, goes to memory: what lives long, such as a running value, blocks a register that many short
//! lives could have had one after another. Source: Poletto and Sarkar, "Linear scan register allocation", 1999.

use super::program::{Class, Op, Program, Role, V};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Home {
    /// By number, of its class.
    Register(u8),
    /// Number of a place on the stack, of its class.
    Stack(u32),
    /// The same four bytes for all lanes.
    Bits(u32),
    /// Four bytes of a frame's item for all lanes.
    Item(usize),
    Iota,
    /// Never used.
    None,
}

/// Machine registers to be had, by number.
pub struct Registers {
    pub lanes: Vec<u8>,
    /// Without any, masks are lanes like others.
    pub masks: Option<Vec<u8>>,
    /// Whether four bytes in memory can be an operand for all lanes.
    pub items_are_operands: bool,
}

pub struct Homes {
    /// By virtual register.
    pub of: Vec<Home>,
    pub n_stack_lanes: u32,
    pub n_stack_masks: u32,
}

pub fn allocate(program: &mut Program, registers: &Registers) -> Homes {
    drop_unused(program);
    let mut lives = lives(program);
    lives.sort_by_key(|life| (life.start, life.v));
    scan(program, lives, registers)
}

fn drop_unused(program: &mut Program) {
    let mut used = vec![false; program.classes.len()];
    let mut keep = vec![true; program.ops.len()];
    for (i, op) in program.ops.iter().enumerate().rev() {
        let (mut defines, mut is_used) = (false, false);
        op.visit(&mut |v, role| {
            if role == Role::Def {
                defines = true;
                is_used |= used[v as usize];
            }
        });
        keep[i] = !defines || is_used;
        if keep[i] {
            op.visit(&mut |v, role| used[v as usize] |= role != Role::Def);
        }
    }
    let mut keep = keep.into_iter();
    program.ops.retain(|_| keep.next().expect("one for each op"));
}

/// Positions are twice an op's number for what it reads, one more for what it writes.
#[derive(Clone, Copy, Debug)]
struct Life {
    v: V,
    start: u32,
    end: u32,
    /// How often it is read or written, loops counted tenfold; how much memory costs.
    weight: f32,
    /// That for each op of the life: what the register is worth that it takes.
    worth: f32,
    /// Operands of the op that defines it: if one dies there, its register will do best.
    hints: [Option<V>; 3],
}

fn lives(program: &Program) -> Vec<Life> {
    let mut bound = vec![0; program.n_labels];
    let mut loops: Vec<(u32, u32)> = Vec::new();
    for (i, op) in program.ops.iter().enumerate() {
        match *op {
            Op::Bind { label } => bound[label] = i as u32,
            Op::Next { label, .. } => loops.push((bound[label], i as u32)),
            _ => {}
        }
    }
    let mut lives: Vec<Option<Life>> = vec![None; program.classes.len()];
    for (i, op) in program.ops.iter().enumerate() {
        let at = i as u32;
        let around: Vec<(u32, u32)> =
            loops.iter().copied().filter(|(b, e)| (*b..=*e).contains(&at)).collect();
        let weight = 10f32.powi(around.len().min(6) as i32);
        let mut read = [None; 3];
        let mut n_read = 0;
        op.visit(&mut |v, role| {
            if role == Role::Use && n_read < 3 {
                read[n_read] = Some(v);
                n_read += 1;
            }
            let end = match role {
                Role::Use => 2 * at,
                Role::Def | Role::Both => 2 * at + 1,
                Role::LateUse => 2 * at + 2,
            };
            let life = lives[v as usize].get_or_insert(Life {
                v,
                start: 2 * at + 1,
                end,
                weight: 0.0,
                worth: 0.0,
                hints: if role == Role::Def { read } else { [None; 3] },
            });
            life.end = life.end.max(end);
            life.weight += weight * if role == Role::Both { 3.0 } else { 1.0 };
            for (begin, end) in &around {
                if life.start < 2 * begin {
                    life.end = life.end.max(2 * end + 1);
                }
            }
        });
    }
    // What stands in memory anyway is read from there as an operand, which costs little.
    for op in &program.ops {
        if let Op::Const { to, .. } | Op::Item { to, .. } | Op::Iota { to } = *op
            && let Some(life) = &mut lives[to as usize]
        {
            life.weight *= 0.3;
        }
    }
    let mut lives: Vec<Life> = lives.into_iter().flatten().collect();
    lives.iter_mut().for_each(|life| life.worth = life.weight / (life.end - life.start + 1) as f32);
    lives
}

/// Machine registers of a class.
struct Free {
    free: Vec<u8>,
    active: Vec<Life>,
    n_stack: u32,
}

fn scan(program: &Program, lives: Vec<Life>, registers: &Registers) -> Homes {
    let mut homes = vec![Home::None; program.classes.len()];
    let in_memory: Vec<Option<Home>> = {
        let mut all = vec![None; program.classes.len()];
        for op in &program.ops {
            match *op {
                Op::Const { to, bits } => all[to as usize] = Some(Home::Bits(bits)),
                Op::Item { to, item } if registers.items_are_operands => {
                    all[to as usize] = Some(Home::Item(item))
                }
                Op::Iota { to } => all[to as usize] = Some(Home::Iota),
                _ => {}
            }
        }
        all
    };
    let class = |numbers: &[u8]| Free {
        free: numbers.iter().copied().rev().collect(),
        active: Vec::new(),
        n_stack: 0,
    };
    let mut lanes = class(&registers.lanes);
    let mut masks = registers.masks.as_deref().map(class);
    for life in lives {
        let set = match &mut masks {
            Some(masks) if program.classes[life.v as usize] == Class::Mask => masks,
            _ => &mut lanes,
        };
        set.active.retain(|other| {
            let stays = other.end >= life.start;
            if !stays && let Home::Register(number) = homes[other.v as usize] {
                set.free.push(number);
            }
            stays
        });
        let mut memory = |v: V| {
            in_memory[v as usize].unwrap_or_else(|| {
                set.n_stack += 1;
                Home::Stack(set.n_stack - 1)
            })
        };
        if set.free.is_empty() {
            let (at, least) = set
                .active
                .iter()
                .enumerate()
                .min_by(|(_, a), (_, b)| a.worth.total_cmp(&b.worth))
                .map(|(i, other)| (i, *other))
                .expect("without free registers some are in use");
            if least.worth < life.worth {
                homes[life.v as usize] = homes[least.v as usize];
                homes[least.v as usize] = memory(least.v);
                set.active[at] = life;
            } else {
                homes[life.v as usize] = memory(life.v);
            }
            continue;
        }
        let hinted = life.hints.iter().flatten().find_map(|v| match homes[*v as usize] {
            Home::Register(number) => set.free.iter().position(|free| *free == number),
            _ => None,
        });
        let at = hinted.unwrap_or(set.free.len() - 1);
        homes[life.v as usize] = Home::Register(set.free.remove(at));
        set.active.push(life);
    }
    Homes { of: homes, n_stack_lanes: lanes.n_stack, n_stack_masks: masks.map_or(0, |masks| masks.n_stack) }
}
