//! Where the lanes of a warp meet again after a branch: at its immediate post-dominator.
//!
//! What enters: the successors of each instruction; a successor past the last is the way out. What leaves: for each
//! instruction the first one that every way out of it passes, or the way out itself.
//! Algorithm: Cooper, Harvey, Kennedy, "A simple, fast dominance algorithm" (2001), on the reversed graph.

/// The immediate post-dominator of each instruction. `exit` is `successors.len()`.
pub fn post_dominators(successors: &[Vec<u32>]) -> Vec<u32> {
    let n = successors.len();
    let exit = n as u32;
    let mut predecessors = vec![Vec::new(); n + 1];
    for (from, list) in successors.iter().enumerate() {
        for to in list {
            predecessors[(*to as usize).min(n)].push(from as u32);
        }
    }
    let order = postorder(&predecessors, exit);
    let mut number = vec![u32::MAX; n + 1];
    for (at, node) in order.iter().enumerate() {
        number[*node as usize] = at as u32;
    }
    let mut found = vec![u32::MAX; n + 1];
    found[n] = exit;
    let mut changed = true;
    while changed {
        changed = false;
        // From the exit backwards; the exit itself is last in postorder.
        for &node in order.iter().rev().skip(1) {
            let mut common = u32::MAX;
            for to in &successors[node as usize] {
                let to = (*to).min(exit);
                if found[to as usize] != u32::MAX {
                    common = if common == u32::MAX { to } else { meet(&found, &number, common, to) };
                }
            }
            if found[node as usize] != common {
                found[node as usize] = common;
                changed = true;
            }
        }
    }
    found.truncate(n);
    // What cannot reach the way out (an infinite loop) meets nowhere.
    found.into_iter().map(|f| f.min(exit)).collect()
}

fn meet(found: &[u32], number: &[u32], mut a: u32, mut b: u32) -> u32 {
    while a != b {
        while number[a as usize] < number[b as usize] {
            a = found[a as usize];
        }
        while number[b as usize] < number[a as usize] {
            b = found[b as usize];
        }
    }
    a
}

/// Nodes that reach `root` in the original graph, each after all that it leads to in the reversed one.
fn postorder(edges: &[Vec<u32>], root: u32) -> Vec<u32> {
    let mut order = Vec::new();
    let mut seen = vec![false; edges.len()];
    let mut stack = vec![(root, 0)];
    seen[root as usize] = true;
    while let Some((node, next)) = stack.last_mut() {
        match edges[*node as usize].get(*next) {
            Some(&to) => {
                *next += 1;
                if !seen[to as usize] {
                    seen[to as usize] = true;
                    stack.push((to, 0));
                }
            }
            None => {
                order.push(*node);
                stack.pop();
            }
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::post_dominators;

    #[test]
    fn branches_meet_where_all_ways_pass() {
        // name, successors, expected; the exit is the number of nodes.
        type Case = (&'static str, &'static [&'static [u32]], &'static [u32]);
        let cases: [Case; 5] = [
            ("straight", &[&[1], &[2]], &[1, 2]),
            ("if and else", &[&[1, 2], &[3], &[3], &[4]], &[3, 3, 3, 4]),
            ("loop with a break", &[&[1], &[2, 4], &[3, 4], &[1], &[5]], &[1, 4, 4, 1, 5]),
            ("return in an if", &[&[1, 2], &[4], &[3], &[4]], &[4, 4, 3, 4]),
            ("infinite loop", &[&[1, 2], &[1], &[3]], &[2, 3, 3]),
        ];
        for (name, successors, expected) in cases {
            let successors: Vec<Vec<u32>> = successors.iter().map(|s| s.to_vec()).collect();
            assert_eq!(post_dominators(&successors), expected, "{name}");
        }
    }
}
