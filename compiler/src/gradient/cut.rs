//! The minimum cut of a network (Dinic's algorithm).

/// A network of directed edges with capacities.
pub(super) struct Network {
    /// Edges of each node.
    edges: Vec<Vec<usize>>,
    to: Vec<usize>,
    /// Residual capacity of each edge. Edge `e ^ 1` is the reverse of edge e.
    left: Vec<u64>,
}

/// Capacity larger than any sum of sizes.
pub(super) const UNCUTTABLE: u64 = 1 << 60;

impl Network {
    /// A network of `nodes` nodes without edges.
    pub fn new(nodes: usize) -> Self {
        Self { edges: vec![Vec::new(); nodes], to: Vec::new(), left: Vec::new() }
    }

    /// Adds an edge.
    pub fn edge(&mut self, from: usize, to: usize, capacity: u64) {
        self.edges[from].push(self.to.len());
        self.to.push(to);
        self.left.push(capacity);
        self.edges[to].push(self.to.len());
        self.to.push(from);
        self.left.push(0);
    }

    /// Marks the nodes on the sink's side of the minimum cut that is nearest to the sink.
    pub fn cut(mut self, source: usize, sink: usize) -> Vec<bool> {
        loop {
            let levels = self.levels(source);
            if levels[sink] == usize::MAX {
                break;
            }
            let mut next = vec![0; self.edges.len()];
            while self.augment(source, sink, &levels, &mut next) {}
        }
        let mut beyond = vec![false; self.edges.len()];
        let mut stack = vec![sink];
        beyond[sink] = true;
        while let Some(node) = stack.pop() {
            for &e in &self.edges[node] {
                // the edge into this node is the reverse of e
                if self.left[e ^ 1] > 0 && !std::mem::replace(&mut beyond[self.to[e]], true) {
                    stack.push(self.to[e]);
                }
            }
        }
        beyond
    }

    fn levels(&self, source: usize) -> Vec<usize> {
        let mut levels = vec![usize::MAX; self.edges.len()];
        levels[source] = 0;
        let mut queue = std::collections::VecDeque::from([source]);
        while let Some(node) = queue.pop_front() {
            crate::work::spend(1);
            for &e in &self.edges[node] {
                if self.left[e] > 0 && levels[self.to[e]] == usize::MAX {
                    levels[self.to[e]] = levels[node] + 1;
                    queue.push_back(self.to[e]);
                }
            }
        }
        levels
    }

    /// Augments along one more path of the level graph, without recursion: paths are as long as chains of ops.
    fn augment(&mut self, source: usize, sink: usize, levels: &[usize], next: &mut [usize]) -> bool {
        let mut path: Vec<usize> = Vec::new();
        let mut node = source;
        while node != sink {
            crate::work::spend(1);
            let onward = self.edges[node][next[node]..]
                .iter()
                .position(|&e| self.left[e] > 0 && levels[self.to[e]] == levels[node].wrapping_add(1));
            match onward {
                Some(skipped) => {
                    next[node] += skipped;
                    let e = self.edges[node][next[node]];
                    path.push(e);
                    node = self.to[e];
                }
                None => {
                    next[node] = self.edges[node].len();
                    let Some(e) = path.pop() else { return false };
                    node = self.to[e ^ 1];
                    next[node] += 1;
                }
            }
        }
        let flow = path.iter().map(|&e| self.left[e]).min().unwrap_or(0);
        for e in path {
            self.left[e] -= flow;
            self.left[e ^ 1] += flow;
        }
        flow > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn least_and_nearest_to_the_sink() {
        // 0 -> 1 -> 2 -> 3 with equal capacities, and a parallel path 0 -> 4 -> 3 that is cut at its cheaper edge
        let mut network = Network::new(5);
        for (from, to, capacity) in [(0, 1, 3), (1, 2, 3), (2, 3, 3), (0, 4, 2), (4, 3, UNCUTTABLE)] {
            network.edge(from, to, capacity);
        }
        assert_eq!(network.cut(0, 3), [false, false, false, true, true]);
    }

    #[test]
    fn a_shared_value_is_cut_once() {
        // 0 -> 1, from which 2 and 3 are computed; both are needed at 4
        let mut network = Network::new(5);
        for (from, to, capacity) in [(0, 1, 5), (1, 2, 3), (1, 3, 3), (2, 4, UNCUTTABLE), (3, 4, UNCUTTABLE)] {
            network.edge(from, to, capacity);
        }
        assert_eq!(network.cut(0, 4), [false, true, true, true, true]);
    }
}
